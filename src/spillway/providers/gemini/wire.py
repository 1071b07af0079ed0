"""Gemini's answers, whole and streamed, AI Studio's and Vertex's.

Source: https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from spillway.core.clock import entropy
from spillway.core.errors import BadRequest, ContentFiltered, InferenceError, NetworkError, ServerError
from spillway.core.reply import FinishReason, TokenChunk, ToolCallDelta, Usage
from spillway.providers.gemini.body import MADE_ID
from spillway.providers.reading import ABSENT, UNREADABLE, Count, count, is_set, reread, unreadable
from spillway.remote.sse import RawEvent

_FINISHES = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "IMAGE_OTHER": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "PUP_LIMITED_DISABLED": FinishReason.CONTENT_FILTER,
}
_FAILURES = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})

Refuse = Callable[[bytes], InferenceError]
"""Makes an error of a body that says `{"error": …}` although the status was 200."""


class _FunctionCall(msgspec.Struct, gc=False):
    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = ABSENT


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: _FunctionCall | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None


class _Usage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    cached_content_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    response_id: str | None = None
    error: msgspec.Raw = ABSENT


_response = msgspec.json.Decoder(_Response).decode
_responses = msgspec.json.Decoder(list[_Response]).decode


def decode_response(body: bytes, refuse: Refuse) -> tuple[list[TokenChunk], str]:
    """Return a whole response as chunks, and its id; a stream without events comes as an array of responses.

    Raises:
        ContentFiltered: the prompt was blocked.
        ServerError: it can't be read, or lacks what every response has.
        InferenceError: it says that it is an error.
    """
    try:
        responses = _responses(body) if body.lstrip()[:1] == b"[" else [_response(body)]
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    stream = ResponseStream(refuse)
    chunks: list[TokenChunk] = []
    for response in responses:
        stream.take_response(response, body, chunks)
    if not stream.complete:
        raise ServerError("the answer has no candidate with a finishReason", reason="schema")
    last = stream.last_chunk()
    if len(chunks) == 1 and chunks[0].tool_call_delta is None:
        chunks[0] = msgspec.structs.replace(chunks[0], usage=last.usage, finish_reason=last.finish_reason)
    else:
        chunks.append(last)
    return chunks, stream.answer_id


class ResponseStream:
    """Makes chunks of the responses of one stream, which ends where its bytes end.

    Args:
        refuse: makes the error of an event or a tail that says it is one.
    """

    __slots__ = ("_calls", "_finish", "_refuse", "_usage", "answer_id", "finished")

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._usage: _Usage | None = None
        self._finish: FinishReason | None = None
        self._calls = 0
        self.answer_id = ""
        self.finished = False

    @property
    def complete(self) -> bool:
        """Whether a finish reason was seen, the only proof that nothing is missing."""
        return self._finish is not None

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `events` carry.

        Raises:
            ContentFiltered: the prompt was blocked.
            ServerError: an event can't be read; the chunks before it are in `out`.
            InferenceError: an event says that it is an error.
        """
        for _, data in events:
            try:
                response = _response(data)
            except UNREADABLE as error:
                if data.lstrip()[:1] == b"[" and b'"error"' in data:
                    raise self._refuse(data) from error
                response = reread(_response, data, error)
            self.take_response(response, data, out)

    def take_response(self, response: _Response, data: bytes, out: list[TokenChunk]) -> None:
        """Append to `out` what one response carries; `data` is what it was made of."""
        if response.usage_metadata is not None:
            self._usage = response.usage_metadata
        candidates = response.candidates
        if not candidates:
            if response.error is not ABSENT and is_set(response.error):
                raise self._refuse(data)
            feedback = response.prompt_feedback
            if feedback is not None and feedback.block_reason:
                raise ContentFiltered(f"the prompt was blocked: {feedback.block_reason}", reason="prompt_blocked")
            return
        if response.response_id is not None:
            self.answer_id = response.response_id
        candidate = candidates[0]
        content = candidate.content
        if content is not None and content.parts:
            for part in content.parts:
                if part.text:
                    if part.thought:
                        out.append(TokenChunk(reasoning_delta=part.text))
                    else:
                        out.append(TokenChunk(text_delta=part.text))
                elif part.function_call is not None:
                    out.append(TokenChunk(tool_call_delta=self._call(part.function_call)))
        if candidate.finish_reason is not None:
            self._take_finish(candidate)

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes; see `StreamWire.end`.

        Raises:
            NetworkError: no finish reason was seen (`incomplete`).
            InferenceError: the residue is an error's body.
        """
        rest = residue.strip()
        if rest[:1] in {b"{", b"["} and b'"error"' in rest:
            raise self._refuse(rest)
        for _, data in unended:
            try:
                response = _response(data)
            except UNREADABLE:
                continue
            self.take_response(response, data, out)
        if not self.complete:
            raise NetworkError("the stream ended without its terminal marker", reason="incomplete")
        self.finished = True
        out.append(self.last_chunk())

    def last_chunk(self) -> TokenChunk:
        """Return the finish reason and the usage, which only the end makes certain."""
        finish = self._finish
        if finish is FinishReason.STOP and self._calls:
            finish = FinishReason.TOOL_CALLS
        return TokenChunk(usage=None if self._usage is None else _usage(self._usage), finish_reason=finish)

    def _take_finish(self, candidate: _Candidate) -> None:
        reason = candidate.finish_reason or ""
        if reason in _FAILURES:
            raise ServerError(f"the model failed: {reason}", reason=reason.lower())
        if reason == "MISSING_THOUGHT_SIGNATURE":
            raise BadRequest("a tool call in messages lacks its thought signature", reason=reason.lower())
        if reason != "FINISH_REASON_UNSPECIFIED":
            self._finish = _FINISHES.get(reason, FinishReason.STOP)

    def _call(self, call: _FunctionCall) -> ToolCallDelta:
        index = self._calls
        self._calls += 1
        call_id = call.id
        if not call_id:
            origin = self.answer_id or f"{int(entropy.random() * 2**52):x}"
            call_id = f"{MADE_ID}{origin}-{index}"
        arguments = bytes(call.args).decode("utf-8", "replace") if is_set(call.args) else "{}"
        return ToolCallDelta(index=index, id=call_id, name=call.name or "", arguments=arguments)


def _usage(usage: _Usage) -> Usage:
    thoughts = count(usage.thoughts_token_count)
    return Usage(
        input_tokens=count(usage.prompt_token_count) + count(usage.tool_use_prompt_token_count),
        output_tokens=count(usage.candidates_token_count) + thoughts,
        cached_tokens=count(usage.cached_content_token_count),
        reasoning_tokens=thoughts,
    )
