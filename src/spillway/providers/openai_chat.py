"""OpenAI Chat Completions on the wire: what the `openai` and `litellm` runtimes share.

Source: https://platform.openai.com/docs/api-reference/chat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from spillway.core.errors import InferenceError, NetworkError, ServerError
from spillway.core.reply import FinishReason, TokenChunk, ToolCallDelta, Usage
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import encode_body, extra_fields
from spillway.providers.reading import ABSENT, UNREADABLE, Count, count, is_set, reread, unreadable
from spillway.remote.sse import RawEvent

_FINISHES = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_DONE = b"[DONE]"

Refuse = Callable[[bytes], InferenceError]
"""Makes an error of a body that says `{"error": …}` although the status was 200."""


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Custom(msgspec.Struct, gc=False):
    name: str | None = None
    input: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Said(msgspec.Struct, gc=False):
    """A whole message or a delta: they have the same fields."""

    content: str | list[_Part] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    reasoning_content: str | None = None
    reasoning: Any = None


class _Choice(msgspec.Struct, gc=False):
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count = None
    cache_write_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None


class _Completion(msgspec.Struct, gc=False):
    """A whole completion or a chunk of one."""

    id: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = ABSENT


class _Row(msgspec.Struct, gc=False):
    embedding: list[float]
    index: int = 0


class _Embedded(msgspec.Struct, gc=False):
    data: list[_Row] | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = ABSENT


_completion = msgspec.json.Decoder(_Completion).decode
_embedded = msgspec.json.Decoder(_Embedded).decode


def encode_chat(
    request: GenerateRequest, *, model: str, runtime: str, stream: bool, max_tokens_field: str
) -> dict[str, Any]:
    """Return the body of a chat completion.

    Args:
        max_tokens_field: `max_completion_tokens`, or `max_tokens` for servers that know only that.

    Raises:
        BadRequest: a field of `extra` can't be passed on.
    """
    body: dict[str, Any] = {"model": model, "messages": request.messages}
    if request.max_tokens is not None:
        body[max_tokens_field] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.top_p is not None:
        body["top_p"] = request.top_p
    if request.stop is not None:
        body["stop"] = request.stop
    if request.seed is not None:
        body["seed"] = request.seed
    if request.tools is not None:
        body["tools"] = request.tools
    if request.tool_choice is not None:
        body["tool_choice"] = request.tool_choice
    if request.response_format is not None:
        body["response_format"] = request.response_format
    if request.reasoning_effort is not None:
        body["reasoning_effort"] = request.reasoning_effort
    if request.extra:
        extra = extra_fields(request, runtime)
        if extra.keys() & {"max_tokens", "max_completion_tokens"}:
            body.pop(max_tokens_field, None)
        body.update(extra)
    if stream:
        body["stream"] = True
        body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return body


def encode_embeddings(request: GenerateRequest, *, model: str, runtime: str) -> bytes:
    """Return the body of an embeddings request for vectors of plain floats."""
    body = {"model": model, "input": request.inputs, **extra_fields(request, runtime), "encoding_format": "float"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return encode_body(body)


def decode_chat(body: bytes, refuse: Refuse) -> tuple[list[TokenChunk], str]:
    """Return a whole completion as chunks, and its id.

    Raises:
        ServerError: it can't be read, or lacks what every completion has.
        InferenceError: it says that it is an error.
    """
    try:
        whole = _completion(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if is_set(whole.error):
        raise refuse(body)
    if not whole.choices:
        raise ServerError("the answer has no choices", reason="schema")
    choice = whole.choices[0]
    said = choice.message
    if said is None:
        raise ServerError("the answer's choice has no message", reason="schema")
    chunks: list[TokenChunk] = []
    text = _text(said.content)
    if said.refusal:
        text += said.refusal
    reasoning = _reasoning(said)
    calls = said.tool_calls
    finish = _FINISHES.get(choice.finish_reason or "", FinishReason.STOP)
    if said.content is None and not (calls or text or reasoning) and finish is FinishReason.STOP:
        raise ServerError("the answer has neither content nor tool calls", reason="schema")
    if finish is FinishReason.STOP and (calls or said.refusal):
        finish = FinishReason.TOOL_CALLS if calls else FinishReason.CONTENT_FILTER
    if calls:
        if text or reasoning:
            chunks.append(TokenChunk(text_delta=text, reasoning_delta=reasoning))
        chunks += [TokenChunk(tool_call_delta=_call(call, at)) for at, call in enumerate(calls)]
        text = reasoning = ""
    chunks.append(
        TokenChunk(
            text_delta=text,
            reasoning_delta=reasoning,
            usage=None if whole.usage is None else _usage(whole.usage),
            finish_reason=finish,
        )
    )
    return chunks, whole.id or ""


def decode_embeddings(body: bytes, refuse: Refuse, wanted: int) -> tuple[tuple[tuple[float, ...], ...], Usage | None]:
    """Return the vectors in the order of the inputs, and the usage.

    Raises:
        ServerError: it can't be read, or has not one vector for each of `wanted` inputs.
        InferenceError: it says that it is an error.
    """
    try:
        whole = _embedded(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if is_set(whole.error):
        raise refuse(body)
    rows = sorted(whole.data or (), key=lambda row: row.index)
    if len(rows) != wanted:
        raise ServerError(f"the answer has {len(rows)} vectors for {wanted} inputs", reason="schema")
    return tuple(tuple(row.embedding) for row in rows), None if whole.usage is None else _usage(whole.usage)


class ChatStream:
    """Makes chunks of the events of one streamed completion.

    Args:
        refuse: makes the error of an event that says it is one.
    """

    __slots__ = ("_calls", "_finish", "_refuse", "_refused", "_seen", "_usage", "answer_id", "finished")

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._usage: _Usage | None = None
        self._finish: FinishReason | None = None
        self._calls = 0
        self._refused = False
        self._seen = False
        self.answer_id = ""
        self.finished = False

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `events` carry; `finished` is set by `[DONE]`.

        Raises:
            ServerError: an event can't be read; the chunks before it are in `out`.
            InferenceError: an event says that it is an error.
        """
        for name, data in events:
            try:
                chunk = _completion(data)
            except UNREADABLE as error:
                if data.startswith(_DONE):
                    self._end(out)
                    return
                chunk = reread(_completion, data, error)
            if chunk.error is not ABSENT or name == b"error":
                self._check(chunk, data)
            for choice in chunk.choices or ():
                if not self._seen:
                    self._seen = True
                    self.answer_id = chunk.id or ""
                said = choice.delta
                if said is not None:
                    text = said.content
                    if isinstance(text, str):
                        if text:
                            out.append(TokenChunk(text_delta=text))
                    elif text:
                        out.append(TokenChunk(text_delta=_text(text)))
                    if said.tool_calls or said.reasoning_content or said.refusal or said.reasoning:
                        self._take_rare(said, out)
                if choice.finish_reason is not None:
                    self._take_finish(choice.finish_reason, out)
            if chunk.usage is not None:
                self._usage = chunk.usage

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes; see `StreamWire.end`.

        Raises:
            NetworkError: there was no `[DONE]` (`incomplete`).
            InferenceError: the residue is an error's body.
        """
        if any(data.startswith(_DONE) for _, data in unended):
            self._end(out)
            return
        rest = residue.strip()
        if rest.startswith(b"{") and b'"error"' in rest:
            raise self._refuse(rest)
        raise NetworkError("the stream ended without its terminal marker", reason="incomplete")

    def _check(self, chunk: _Completion, data: bytes) -> None:
        if is_set(chunk.error) or not chunk.choices:
            raise self._refuse(data)

    def _end(self, out: list[TokenChunk]) -> None:
        if not self._seen:
            raise ServerError("the stream had no choices", reason="empty")
        self.finished = True
        finish = None
        if self._finish is None:
            finish = FinishReason.TOOL_CALLS if self._calls else FinishReason.STOP
        if finish is not None or self._usage is not None:
            usage = None if self._usage is None else _usage(self._usage)
            out.append(TokenChunk(usage=usage, finish_reason=finish))

    def _take_rare(self, said: _Said, out: list[TokenChunk]) -> None:
        reasoning = _reasoning(said)
        if reasoning:
            out.append(TokenChunk(reasoning_delta=reasoning))
        if said.refusal:
            self._refused = True
            out.append(TokenChunk(text_delta=said.refusal))
        for call in said.tool_calls or ():
            if call.index is None and call.id:
                self._calls += 1
            index = max(0, self._calls - 1) if call.index is None else call.index
            self._calls = max(self._calls, index + 1)
            out.append(TokenChunk(tool_call_delta=_call(call, index)))

    def _take_finish(self, reason: str, out: list[TokenChunk]) -> None:
        if self._finish is not None:
            return
        finish = _FINISHES.get(reason, FinishReason.STOP)
        if finish is FinishReason.STOP and (self._calls or self._refused):
            finish = FinishReason.TOOL_CALLS if self._calls else FinishReason.CONTENT_FILTER
        self._finish = finish
        out.append(TokenChunk(finish_reason=finish))


def _text(content: str | list[_Part] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content if part.type == "text" and part.text)


def _reasoning(said: _Said) -> str:
    if said.reasoning_content:
        return said.reasoning_content
    return said.reasoning if isinstance(said.reasoning, str) else ""


def _call(call: _Call, index: int) -> ToolCallDelta:
    if call.function is not None:
        name, arguments = call.function.name, call.function.arguments
    elif call.custom is not None:
        name, arguments = call.custom.name, call.custom.input
    else:
        name = arguments = ""
    return ToolCallDelta(index=index, id=call.id or "", name=name or "", arguments=arguments or "")


def _usage(usage: _Usage) -> Usage:
    read, write = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    within = usage.prompt_tokens_details
    if within is not None:
        read = read if within.cached_tokens is None else within.cached_tokens
        write = write if within.cache_write_tokens is None else within.cache_write_tokens
    out = usage.completion_tokens_details
    return Usage(
        input_tokens=count(usage.prompt_tokens),
        output_tokens=count(usage.completion_tokens),
        cached_tokens=count(read),
        cache_write_tokens=count(write),
        reasoning_tokens=0 if out is None else count(out.reasoning_tokens),
    )
