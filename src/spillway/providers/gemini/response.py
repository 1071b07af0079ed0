"""The shapes of a GenerateContentResponse that are read; what is only passed on stays raw.

Source: https://ai.google.dev/api/generate-content#generatecontentresponse.
"""

from __future__ import annotations

import msgspec

from spillway.core.reply import Usage
from spillway.providers.reading import ABSENT, Count, count


class PartialArg(msgspec.Struct, gc=False, rename="camel"):
    """A piece of a call's arguments, at a JSON path; Vertex, when asked to stream them."""

    json_path: str = ""
    string_value: str | None = None
    number_value: int | float | None = None
    bool_value: bool | None = None


class FunctionCall(msgspec.Struct, gc=False, rename="camel"):
    """A call, whole, or one of the pieces it comes in."""

    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = ABSENT
    partial_args: list[PartialArg] | None = None
    will_continue: bool | None = None


class Blob(msgspec.Struct, gc=False, rename="camel"):
    """Inline data, base64."""

    mime_type: str = ""
    data: str = ""


class Part(msgspec.Struct, gc=False, rename="camel"):
    """One part of an answer."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None


class Content(msgspec.Struct, gc=False):
    """The parts of an answer, or of a piece of one."""

    parts: list[Part] | None = None


class Candidate(msgspec.Struct, gc=False, rename="camel"):
    """One of the answers."""

    index: int | None = None
    content: Content | None = None
    finish_reason: str | None = None
    logprobs_result: msgspec.Raw = ABSENT
    citation_metadata: msgspec.Raw = ABSENT
    grounding_metadata: msgspec.Raw = ABSENT
    url_context_metadata: msgspec.Raw = ABSENT
    safety_ratings: msgspec.Raw = ABSENT
    avg_logprobs: msgspec.Raw = ABSENT
    finish_message: msgspec.Raw = ABSENT
    continuation_token: msgspec.Raw = ABSENT


class Feedback(msgspec.Struct, gc=False, rename="camel"):
    """What is said of a prompt that is not answered."""

    block_reason: str | None = None
    block_reason_message: str | None = None


class UsageMetadata(msgspec.Struct, gc=False, rename="camel"):
    """Token counts; the thoughts are not among the candidates'."""

    prompt_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    cached_content_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None
    prompt_tokens_details: msgspec.Raw = ABSENT
    candidates_tokens_details: msgspec.Raw = ABSENT
    cache_tokens_details: msgspec.Raw = ABSENT
    tool_use_prompt_tokens_details: msgspec.Raw = ABSENT
    traffic_type: str | None = None

    def as_usage(self) -> Usage:
        """Return them as inclusive totals."""
        thoughts = count(self.thoughts_token_count)
        return Usage(
            input_tokens=count(self.prompt_token_count) + count(self.tool_use_prompt_token_count),
            output_tokens=count(self.candidates_token_count) + thoughts,
            cached_tokens=count(self.cached_content_token_count),
            reasoning_tokens=thoughts,
        )


class Response(msgspec.Struct, gc=False, rename="camel"):
    """A whole response, or one event of a streamed one."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = ABSENT
