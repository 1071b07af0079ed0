"""Streamed responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from spillway.core.errors import NetworkError, ServerError
from spillway.core.reply import TokenChunk, ToolCallDelta
from spillway.providers.openai.responses.items import (
    BETWEEN_THOUGHTS,
    CALLS,
    Response,
    annotation_of,
    call_of,
    extra_of_call,
    kept_of,
    parts_of,
    text_of,
    thoughts_of,
)
from spillway.providers.openai.responses.whole import Failed, check
from spillway.providers.openai_chat import Refuse
from spillway.providers.reading import UNREADABLE, decode_object, reread
from spillway.remote.sse import RawEvent

_TEXT = "response.output_text.delta"
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TOLD = frozenset(
    {
        "response.output_text.done",
        "response.content_part.added",
        "response.refusal.done",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.done",
        "response.reasoning_text.done",
        "response.audio.done",
        "response.audio.transcript.done",
    }
)
"""Events that say again what others said."""


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    logprobs: list[Any] | None = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    item: Any = None
    part: Any = None
    annotation: Any = None
    response: msgspec.Raw = msgspec.Raw(b"{}")


_Handler = Callable[[Any, _Event, list[TokenChunk]], None]

_event = msgspec.json.Decoder(_Event).decode
_response = msgspec.json.Decoder(Response).decode


class ResponseStream:
    """Makes chunks of the events of one streamed response.

    Args:
        refuse: makes the error of a body that says it is one.
        failed: makes the error of an object that says why a response failed.
    """

    def __init__(self, refuse: Refuse, failed: Failed) -> None:
        self._refuse = refuse
        self._failed = failed
        self._spoken: set[int] = set()
        self._calls: dict[int, int] = {}
        self._items: dict[int, Mapping[str, Any]] = {}
        self._thought: tuple[str, int, int] | None = None
        self._noted: dict[tuple[int, int], int] = {}
        self._logprobs: list[Any] = []
        self._chars = 0
        self._refused = False
        self.answer_id = ""
        self.finished = False

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `events` carry; `finished` is set by the event that ends the response.

        Raises:
            ServerError: an event can't be read; the chunks before it are in `out`.
            InferenceError: an event says that the response failed.
        """
        for _, data in events:
            if self.finished:
                return
            try:
                event = _event(data)
            except UNREADABLE as error:
                if data.startswith(b"[DONE]"):
                    continue
                event = reread(_event, data, error)
            delta = event.delta
            if event.type == _TEXT and delta.__class__ is str:
                self._spoken.add(event.output_index)
                if event.logprobs:
                    self._logprobs += event.logprobs
                if delta:
                    out.append(TokenChunk(text_delta=delta))
                continue
            handle = self._handlers.get(event.type)
            if handle is not None:
                handle(self, event, out)
            elif event.type == "response.output_item.added":
                self._item_added(event, data, out)
            elif event.type in _ENDS:
                self._end(event, out)
            elif event.type == "error" or (not event.type and b'"error"' in data):
                raise self._failed(decode_object(data))
            elif event.type not in _TOLD:
                if event.type == "response.created":
                    self.answer_id = str(decode_object(event.response).get("id") or "")
                out.append(TokenChunk(raw=data))

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes; see `StreamWire.end`.

        Raises:
            NetworkError: no event ended the response (`incomplete`).
            InferenceError: the residue is an error's body.
        """
        for name, data in unended:
            if decode_object(data).get("type") in _ENDS:
                self.take([(name, data)], out)
                return
        rest = residue.strip()
        if rest.startswith(b"{") and b'"error"' in rest:
            raise self._refuse(rest)
        raise NetworkError("the stream ended without its terminal marker", reason="incomplete")

    def _item_added(self, event: _Event, data: bytes, out: list[TokenChunk]) -> None:
        kind = event.item.get("type") if isinstance(event.item, Mapping) else None
        if kind in CALLS:
            index = self._calls.setdefault(event.output_index, len(self._calls))
            call = call_of(event.item, index, "")
            out.append(TokenChunk(tool_call_delta=msgspec.structs.replace(call, extra=None)))
        elif kind not in {"message", "reasoning"}:
            out.append(TokenChunk(raw=data))

    def _item_done(self, event: _Event, out: list[TokenChunk]) -> None:
        """Keep the item, and give out what of it no other event told."""
        item, at = event.item, event.output_index
        if not isinstance(item, Mapping):
            return
        self._items[at] = item
        kind = str(item.get("type") or "")
        if kind in CALLS:
            said = "" if at in self._spoken else text_of(item, CALLS[kind])
            if at not in self._calls:
                self._calls[at] = len(self._calls)
                out.append(TokenChunk(tool_call_delta=call_of(item, self._calls[at], said)))
            elif said or extra_of_call(item):
                delta = ToolCallDelta(index=self._calls[at], arguments=said, extra=extra_of_call(item))
                out.append(TokenChunk(tool_call_delta=delta))
        elif kind == "reasoning" and at not in self._spoken:
            for number, text in enumerate(thoughts_of(item)):
                self._think(("item", at, number), text, out)
        elif kind == "message" and at not in self._spoken:
            for part in parts_of(item):
                if text := text_of(part):
                    out.append(TokenChunk(text_delta=text))
                if refusal := text_of(part, "refusal"):
                    self._refused = True
                    out.append(TokenChunk(refusal_delta=refusal))

    def _part_done(self, event: _Event, out: list[TokenChunk]) -> None:
        """Give out a text's log probabilities, which are whole only now, and annotations that had no event."""
        part, place = event.part, (event.output_index, event.content_index)
        if not isinstance(part, Mapping) or part.get("type") != "output_text":
            return
        logprobs = parts_of(part, "logprobs") or self._logprobs
        self._logprobs = []
        notes = [
            annotation_of(note, self._chars) for note in parts_of(part, "annotations")[self._noted.get(place, 0) :]
        ]
        self._chars += len(text_of(part))
        if logprobs or notes:
            extra = {"annotations": notes} if notes else None
            out.append(TokenChunk(logprobs={"content": logprobs} if logprobs else None, extra=extra))

    def _annotation(self, event: _Event, out: list[TokenChunk]) -> None:
        if isinstance(event.annotation, Mapping):
            place = (event.output_index, event.content_index)
            self._noted[place] = self._noted.get(place, 0) + 1
            out.append(TokenChunk(extra={"annotations": [annotation_of(event.annotation, self._chars)]}))

    def _arguments(self, event: _Event, out: list[TokenChunk]) -> None:
        self._spoken.add(event.output_index)
        index = self._calls.setdefault(event.output_index, len(self._calls))
        out.append(TokenChunk(tool_call_delta=ToolCallDelta(index=index, arguments=str(event.delta or ""))))

    def _refusal(self, event: _Event, out: list[TokenChunk]) -> None:
        self._spoken.add(event.output_index)
        self._refused = True
        out.append(TokenChunk(refusal_delta=str(event.delta or "")))

    def _summary(self, event: _Event, out: list[TokenChunk]) -> None:
        self._spoken.add(event.output_index)
        self._think(("summary", event.output_index, event.summary_index), str(event.delta or ""), out)

    def _reasoning(self, event: _Event, out: list[TokenChunk]) -> None:
        self._spoken.add(event.output_index)
        self._think(("text", event.output_index, event.content_index), str(event.delta or ""), out)

    def _think(self, place: tuple[str, int, int], text: str, out: list[TokenChunk]) -> None:
        if not text:
            return
        if self._thought not in {None, place}:
            text = BETWEEN_THOUGHTS + text
        self._thought = place
        out.append(TokenChunk(reasoning_delta=text))

    def _sound(self, event: _Event, out: list[TokenChunk]) -> None:
        name = "transcript" if "transcript" in event.type else "data"
        out.append(TokenChunk(extra={"audio": {name: str(event.delta or "")}}))

    def _end(self, event: _Event, out: list[TokenChunk]) -> None:
        try:
            whole = _response(event.response)
        except UNREADABLE as error:
            raise ServerError(f"the end of the stream can't be read: {error}", reason="malformed") from error
        whole.status = whole.status or event.type.removeprefix("response.")
        self.answer_id = self.answer_id or whole.id or ""
        check(whole, self._failed)
        self.finished = True
        if not self._items:
            for at, item in enumerate(whole.output or ()):
                self._item_done(_Event(item=item, output_index=at), out)
        items = [item for _, item in sorted(self._items.items())]
        kept = kept_of(items)
        about = whole.about()
        finish = whole.finish(about, calls=bool(self._calls), refused=self._refused)
        out.append(
            TokenChunk(usage=whole.counted(items), finish_reason=finish, extra=kept or None, about=about or None),
        )

    _handlers: ClassVar[Mapping[str, _Handler]] = {
        "response.output_item.done": _item_done,
        "response.content_part.done": _part_done,
        "response.output_text.annotation.added": _annotation,
        "response.function_call_arguments.delta": _arguments,
        "response.custom_tool_call_input.delta": _arguments,
        "response.refusal.delta": _refusal,
        "response.reasoning_summary_text.delta": _summary,
        "response.reasoning_text.delta": _reasoning,
        "response.audio.delta": _sound,
        "response.audio.transcript.delta": _sound,
    }
