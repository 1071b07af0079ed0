"""Anthropic's answers, whole and streamed.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from spillway.core.errors import InferenceError, NetworkError, ServerError
from spillway.core.reply import FinishReason, TokenChunk, ToolCallDelta, Usage
from spillway.providers.reading import ABSENT, UNREADABLE, Count, count, is_set, reread, unreadable
from spillway.remote.sse import RawEvent

_FINISHES = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}

Refuse = Callable[[bytes], InferenceError]
"""Makes an error of a body or an event of type `error`."""


class _Written(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: Count = None
    ephemeral_1h_input_tokens: Count = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count = None
    output_tokens: Count = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation: _Written | None = None
    output_tokens_details: _OutputDetails | None = None


class _Content(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = ABSENT


class _Message(msgspec.Struct, gc=False):
    type: str = ""
    id: str | None = None
    content: list[_Content] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = ABSENT


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Content | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: msgspec.Raw = ABSENT


class _Counted(msgspec.Struct, gc=False):
    input_tokens: Count = None
    error: msgspec.Raw = ABSENT


_counted = msgspec.json.Decoder(_Counted).decode
_message = msgspec.json.Decoder(_Message).decode
_event = msgspec.json.Decoder(_Event).decode


def decode_message(body: bytes, refuse: Refuse) -> tuple[list[TokenChunk], str]:
    """Return a whole message as chunks, and its id.

    Raises:
        ServerError: it can't be read, or lacks what every message has.
        InferenceError: it says that it is an error.
    """
    try:
        whole = _message(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if whole.type == "error" or is_set(whole.error):
        raise refuse(body)
    if whole.content is None or whole.stop_reason is None:
        raise ServerError("the answer has no content or no stop_reason", reason="schema")
    chunks: list[TokenChunk] = []
    calls = 0
    for block in whole.content:
        if block.type == "text":
            if block.text:
                chunks.append(TokenChunk(text_delta=block.text))
        elif block.type == "thinking":
            if block.thinking:
                chunks.append(TokenChunk(reasoning_delta=block.thinking))
        elif block.type == "tool_use":
            chunks.append(TokenChunk(tool_call_delta=_called(block, calls, _arguments(block.input))))
            calls += 1
    usage = None if whole.usage is None else _usage(whole.usage)
    finish = _FINISHES.get(whole.stop_reason, FinishReason.STOP)
    if len(chunks) == 1 and not calls:
        chunks[0] = msgspec.structs.replace(chunks[0], usage=usage, finish_reason=finish)
    else:
        chunks.append(TokenChunk(usage=usage, finish_reason=finish))
    return chunks, whole.id or ""


def decode_count(body: bytes, refuse: Refuse) -> int:
    """Return the input tokens that the provider counted.

    Raises:
        ServerError: it can't be read, or has no count.
        InferenceError: it says that it is an error.
    """
    try:
        counted = _counted(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if is_set(counted.error):
        raise refuse(body)
    if counted.input_tokens is None:
        raise ServerError("the answer has no input_tokens", reason="schema")
    return count(counted.input_tokens)


class MessageStream:
    """Makes chunks of the events of one streamed message.

    Args:
        refuse: makes the error of an `error` event.
    """

    __slots__ = ("_calls", "_open_call", "_pending", "_refuse", "_stop_reason", "_usage", "answer_id", "finished")

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._usage: _Usage | None = None
        self._stop_reason: str | None = None
        self._calls = 0
        self._open_call = False
        self._pending = ""
        self.answer_id = ""
        self.finished = False

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `events` carry; `finished` is set by `message_stop`.

        Raises:
            ServerError: an event can't be read; the chunks before it are in `out`.
            InferenceError: an event of type `error`.
        """
        for _, data in events:
            try:
                event = _event(data)
            except UNREADABLE as error:
                event = reread(_event, data, error)
            kind = event.type
            if kind == "content_block_delta":
                delta = event.delta
                if delta is None:
                    continue
                if delta.text is not None:
                    if delta.text:
                        out.append(TokenChunk(text_delta=delta.text))
                elif delta.thinking is not None:
                    if delta.thinking:
                        out.append(TokenChunk(reasoning_delta=delta.thinking))
                elif delta.partial_json and self._open_call:
                    self._pending = ""
                    fragment = ToolCallDelta(index=self._calls - 1, arguments=delta.partial_json)
                    out.append(TokenChunk(tool_call_delta=fragment))
            elif kind == "message_stop":
                self._end(out)
                return
            elif kind != "ping":
                self._take_rare(event, data, out)

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes; see `StreamWire.end`.

        Raises:
            NetworkError: there was no `message_stop` (`incomplete`).
        """
        for _, data in unended:
            try:
                last = _event(data)
            except UNREADABLE:
                continue
            if last.type == "message_stop":
                self._end(out)
                return
        rest = residue.strip()
        if rest.startswith(b"{") and b'"error"' in rest:
            raise self._refuse(rest)
        raise NetworkError("the stream ended without its terminal marker", reason="incomplete")

    def _take_rare(self, event: _Event, data: bytes, out: list[TokenChunk]) -> None:
        kind = event.type
        if kind == "content_block_start":
            block = event.content_block
            self._open_call = block is not None and block.type == "tool_use"
            if block is None:
                return
            if self._open_call:
                self._pending = _arguments(block.input)
                out.append(TokenChunk(tool_call_delta=_called(block, self._calls, "")))
                self._calls += 1
            elif block.type == "text" and block.text:
                out.append(TokenChunk(text_delta=block.text))
        elif kind == "content_block_stop":
            if self._open_call and self._pending:
                fragment = ToolCallDelta(index=self._calls - 1, arguments=self._pending)
                out.append(TokenChunk(tool_call_delta=fragment))
            self._open_call, self._pending = False, ""
        elif kind == "message_start":
            if event.message is not None:
                self._usage = event.message.usage
                self.answer_id = event.message.id or ""
        elif kind == "message_delta":
            if event.usage is not None:
                self._usage = event.usage if self._usage is None else _newer(self._usage, event.usage)
            if event.delta is not None and event.delta.stop_reason is not None and self._stop_reason is None:
                self._stop_reason = event.delta.stop_reason
                out.append(TokenChunk(finish_reason=_FINISHES.get(self._stop_reason, FinishReason.STOP)))
        elif kind == "error" or is_set(event.error):
            raise self._refuse(data)

    def _end(self, out: list[TokenChunk]) -> None:
        if self._stop_reason is None:
            raise ServerError("the stream ended without a stop_reason", reason="schema")
        self.finished = True
        if self._usage is not None:
            out.append(TokenChunk(usage=_usage(self._usage)))


def _called(block: _Content, index: int, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(index=index, id=block.id or "", name=block.name or "", arguments=arguments)


def _arguments(raw: msgspec.Raw) -> str:
    return bytes(raw).decode("utf-8", "replace") or "{}"


def _newer(old: _Usage, new: _Usage) -> _Usage:
    """Return `new`, which is cumulative, with what it does not repeat taken from `old`."""
    given = {name: value for name in new.__struct_fields__ if (value := getattr(new, name)) is not None}
    return msgspec.structs.replace(old, **given)


def _usage(usage: _Usage) -> Usage:
    read, written, longer = count(usage.cache_read_input_tokens), count(usage.cache_creation_input_tokens), 0
    by_ttl = usage.cache_creation
    if by_ttl is not None:
        longer = count(by_ttl.ephemeral_1h_input_tokens)
        if usage.cache_creation_input_tokens is None:
            written = longer + count(by_ttl.ephemeral_5m_input_tokens)
    thinking = usage.output_tokens_details
    return Usage(
        input_tokens=count(usage.input_tokens) + written + read,
        output_tokens=count(usage.output_tokens),
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=longer,
        reasoning_tokens=0 if thinking is None else count(thinking.thinking_tokens),
    )
