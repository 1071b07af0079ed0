"""OpenAI's Responses API behind chat-shaped requests and answers.

Source: https://platform.openai.com/docs/api-reference/responses.
"""

from spillway.providers.openai.responses.body import encode_count, encode_response
from spillway.providers.openai.responses.stream import ResponseStream
from spillway.providers.openai.responses.whole import decode_response

__all__ = ["ResponseStream", "decode_response", "encode_count", "encode_response"]
