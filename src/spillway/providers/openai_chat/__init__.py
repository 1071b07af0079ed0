"""OpenAI Chat Completions and Embeddings on the wire: what the `openai` and `litellm` runtimes share.

Source: https://platform.openai.com/docs/api-reference/chat.
"""

from spillway.providers.openai_chat.body import encode_chat, encode_embeddings, encode_native
from spillway.providers.openai_chat.shapes import Refuse
from spillway.providers.openai_chat.stream import ChatStream
from spillway.providers.openai_chat.vectors import decode_embeddings
from spillway.providers.openai_chat.whole import decode_chat

__all__ = [
    "ChatStream",
    "Refuse",
    "decode_chat",
    "decode_embeddings",
    "encode_chat",
    "encode_embeddings",
    "encode_native",
]
