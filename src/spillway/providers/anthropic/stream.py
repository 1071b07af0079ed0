"""Anthropic's streamed answers, event by event.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from spillway.core.errors import NetworkError, ServerError
from spillway.core.reply import FinishReason, TokenChunk, ToolCallDelta
from spillway.providers.anthropic.echo import TOOL, BlockOrder
from spillway.providers.anthropic.rare import RareBlock, citations_of, decoded, told_as_it_came
from spillway.providers.anthropic.shapes import (
    OF_MESSAGE,
    Content,
    Delta,
    EndDelta,
    Event,
    Message,
    RareEvent,
    arguments_of,
    call_of,
)
from spillway.providers.anthropic.usage import FINISHES, WireUsage, about_end, add_usage, inclusive, newer
from spillway.providers.anthropic.wire import Refuse
from spillway.providers.reading import UNREADABLE, is_set, reread
from spillway.remote.sse import RawEvent

_event = msgspec.json.Decoder(Event).decode
_rare_event = msgspec.json.Decoder(RareEvent).decode


class MessageStream:
    """Makes chunks of the events of one streamed message.

    Args:
        refuse: makes the error of an `error` event.
    """

    __slots__ = (
        "_about",
        "_begin",
        "_calls",
        "_chars",
        "_citations",
        "_model",
        "_open_call",
        "_order",
        "_pending",
        "_rare",
        "_refuse",
        "_stop_reason",
        "_usage",
        "answer_id",
        "finished",
    )

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._usage: WireUsage | None = None
        self._model: str | None = None
        self._about: dict[str, Any] = {}
        self._stop_reason: str | None = None
        self._order = BlockOrder()
        self._chars = 0  # of text so far; here and not in the order, because each delta counts
        self._begin: int | None = None  # where the text that is open began
        self._citations: list[Any] = []
        self._rare: RareBlock | None = None
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
        rare, chars = self._rare, 0
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
                text = delta.text
                if text is not None and rare is None:
                    if text:
                        chars += len(text)
                        out.append(TokenChunk(text_delta=text))
                elif delta.partial_json is not None and self._open_call:
                    if delta.partial_json:
                        self._pending = ""
                        fragment = ToolCallDelta(index=self._calls - 1, arguments=delta.partial_json)
                        out.append(TokenChunk(tool_call_delta=fragment))
                else:
                    self._take_rare_delta(delta, data, out)
            elif kind == "message_stop":
                self._end(out)
                return
            elif kind != "ping":
                self._chars += chars
                self._take_rare(_read(data), data, out)
                rare, chars = self._rare, 0
        self._chars += chars

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

    def _take_rare_delta(self, delta: Delta, data: bytes, out: list[TokenChunk]) -> None:
        rare = self._rare
        if delta.thinking is not None:
            if delta.thinking:
                out.append(TokenChunk(reasoning_delta=delta.thinking))
                if rare is not None:
                    rare.think(delta.thinking)
        elif rare is not None:
            rare.fold(data)
        elif delta.partial_json is None:
            told = _read(data).delta
            if told is not None and is_set(told.citation):
                self._citations.append(decoded(bytes(told.citation)))
            else:
                out.append(TokenChunk(raw=data))

    def _take_rare(self, event: RareEvent, data: bytes, out: list[TokenChunk]) -> None:
        kind = event.type
        if kind == "content_block_start":
            if event.content_block is not None:
                self._open(event.content_block, data, out)
        elif kind == "content_block_stop":
            self._close(out)
        elif kind == "message_start":
            if event.message is not None:
                self._usage = event.message.usage
                self._model = event.message.model
                self.answer_id = event.message.id or ""
                self._note(event.message)
        elif kind == "message_delta":
            self._take_delta(event, out)
        elif kind == "error" or is_set(event.error):
            raise self._refuse(data)
        else:
            out.append(TokenChunk(raw=data))

    def _open(self, block: Content, data: bytes, out: list[TokenChunk]) -> None:
        self._open_call = block.type == "tool_use"
        if self._open_call:
            self._order.add(TOOL)
            self._pending = arguments_of(block.input)
            out.append(TokenChunk(tool_call_delta=call_of(block, self._calls, "")))
            self._calls += 1
        elif block.type == "text":
            self._begin = self._chars
            if block.text:
                self._chars += len(block.text)
                out.append(TokenChunk(text_delta=block.text))
            self._citations += citations_of(block.citations)
        else:
            self._rare = RareBlock(data)
            if block.type == "thinking" and block.thinking:
                out.append(TokenChunk(reasoning_delta=block.thinking))

    def _close(self, out: list[TokenChunk]) -> None:
        if self._begin is not None:
            self._order.chars = self._chars
            annotations = self._order.add_text(self._begin, self._citations)
            if annotations:
                out.append(TokenChunk(extra={"annotations": annotations}))
            self._begin, self._citations = None, []
        elif self._rare is not None:
            out.append(told_as_it_came(self._rare.whole(), self._order))
            self._rare = None
        elif self._open_call and self._pending:
            fragment = ToolCallDelta(index=self._calls - 1, arguments=self._pending)
            out.append(TokenChunk(tool_call_delta=fragment))
        self._open_call, self._pending = False, ""

    def _take_delta(self, event: RareEvent, out: list[TokenChunk]) -> None:
        if event.usage is not None:
            self._usage = newer(self._usage, event.usage)
        self._note(event)
        delta = event.delta
        if delta is None:
            return
        self._note(delta)
        if delta.stop_reason is not None and self._stop_reason is None:
            self._stop_reason = delta.stop_reason
            finish = FINISHES.get(delta.stop_reason, FinishReason.STOP)
            about = about_end(self._model, delta.stop_reason)
            about.update({name: self._about[name] for name in OF_MESSAGE if name in self._about})
            out.append(TokenChunk(finish_reason=finish, about=about, extra=self._order.told()))

    def _note(self, told: Message | RareEvent | EndDelta) -> None:
        for name in OF_MESSAGE:
            value = getattr(told, name, None)
            if value is not None:
                self._about[name] = value

    def _end(self, out: list[TokenChunk]) -> None:
        if self._stop_reason is None:
            raise ServerError("the stream ended without a stop_reason", reason="schema")
        self.finished = True
        if self._usage is not None:
            out.append(TokenChunk(usage=inclusive(self._usage), about=add_usage({}, self._usage) or None))


def _read(data: bytes) -> RareEvent:
    try:
        return _rare_event(data)
    except UNREADABLE as error:
        return reread(_rare_event, data, error)
