"""Chunks of an answer as the events of a streamed response.

Reasoning ends where something else begins. The message and the calls stay open until the answer ends, for a provider
may go back to them; `output_index` tells them apart.

Source: https://platform.openai.com/docs/api-reference/responses-streaming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.building import merged
from spillway.core.clock import new_id
from spillway.core.reply import FinishReason, TokenChunk, ToolCall, ToolCallDelta, Usage
from spillway.gateway.dialects.frames import frame
from spillway.gateway.dialects.responses_sealed import FIELDS, seal
from spillway.gateway.dialects.responses_shape import (
    Frame,
    annotations_of,
    call_item,
    image_items,
    item_id_of,
    message_item,
    reasoning_item,
    status_of,
    text_part,
)
from spillway.gateway.refusals import Refusal
from spillway.remote.sse import RawEvent

_encode = msgspec.json.Encoder().encode
_TEXT, _REFUSAL = "output_text", "refusal"


class _Reasoning:
    """The reasoning item that is open."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.item_id = f"rs_{new_id()}"
        self.text: list[str] = []


class _Part:
    """A part of the message: text or refusal."""

    def __init__(self, at: int, kind: str) -> None:
        self.at = at
        self.kind = kind
        self.text: list[str] = []
        self.logprobs: list[Any] = []
        self.notes: list[Any] = []

    def shape(self) -> dict[str, Any]:
        said = "".join(self.text)
        if self.kind == _REFUSAL:
            return {"type": _REFUSAL, "refusal": said}
        return text_part(said, logprobs=self.logprobs, annotations=self.notes)


class _Message:
    """The one message of the answer."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.item_id = f"msg_{new_id()}"
        self.parts: dict[str, _Part] = {}


class _Call:
    """A call, its arguments as far as they have come."""

    def __init__(self, at: int, delta: ToolCallDelta) -> None:
        self.at = at
        self.item_id = item_id_of(custom=delta.custom)
        self.call_id = delta.id or f"call_{new_id()}"
        self.name = delta.name
        self.custom = delta.custom
        self.arguments: list[str] = []
        self.extra: Mapping[str, Any] | None = None

    def said(self) -> ToolCall:
        return ToolCall(
            id=self.call_id, name=self.name, arguments="".join(self.arguments), custom=self.custom, extra=self.extra
        )


class ResponseEvents:
    """Writes one response as events.

    Invariants: `sequence_number` counts from 0 without a gap; every item that is added is done, unless the answer
    breaks.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._out: list[bytes] = []
        self._sequence = 0
        self._items: list[Any] = []
        self._reasoning: _Reasoning | None = None
        self._message: _Message | None = None
        self._calls: dict[int, _Call] = {}
        self._extra: dict[str, Any] = {}
        self._about: dict[str, Any] = {}
        self._usage: Usage | None = None
        self._finish: FinishReason | None = None

    def take(self, chunks: Sequence[TokenChunk]) -> bytes:
        """Return the events that chunks are, the first ones behind the response's own two."""
        if not self._sequence:
            for name in ("response.created", "response.in_progress"):
                self._put(name, response=self._frame.response("in_progress"))
        for chunk in chunks:
            self._take(chunk)
        return self._taken()

    def end(self) -> bytes:
        """Return the events that end a whole answer."""
        status, reason = status_of(self._finish, refused=self._refused())
        self._close_reasoning()
        self._seal_rest()
        if not self._items:
            self._say(_TEXT, "", ())
        self._close_message(status)
        for _, call in sorted(self._calls.items()):
            self._close_call(call, status)
        done = self._frame.response(status, self._items, usage=self._usage, about=self._about, reason=reason)
        self._put("response.incomplete" if reason else "response.completed", response=done)
        return self._taken()

    def fail(self, refusal: Refusal) -> bytes:
        """Return the events that end an answer which broke: what it says of itself, and an error."""
        failed = self._frame.response(
            "failed",
            [item for item in self._items if item is not None],
            usage=self._usage,
            about=self._about,
            error={"code": "server_error", "message": refusal.message},
        )
        self._put("response.failed", response=failed)
        self._put("error", **_error_of(refusal))
        return self._taken()

    def _take(self, chunk: TokenChunk) -> None:
        if chunk.choice:
            return
        if chunk.reasoning_delta:
            self._think(chunk.reasoning_delta)
        if chunk.extra is not None:
            self._extra = merged(self._extra, chunk.extra)
            for item in image_items(chunk.extra):
                self._whole(item)
        logprobs = (chunk.logprobs or {}).get("content") or ()
        if chunk.text_delta or logprobs:
            self._say(_TEXT, chunk.text_delta, logprobs)
        if chunk.refusal_delta:
            self._say(_REFUSAL, chunk.refusal_delta, ())
        if chunk.tool_call_delta is not None:
            self._call(chunk.tool_call_delta)
        if self._extra.get("annotations"):
            self._annotate()
        self._usage = chunk.usage or self._usage
        self._finish = chunk.finish_reason or self._finish
        if chunk.about is not None:
            self._about = merged(self._about, chunk.about)

    def _think(self, text: str) -> None:
        open_ = self._reasoning
        if open_ is None:
            open_ = self._reasoning = _Reasoning(self._place())
            self._added(open_.at, reasoning_item(open_.item_id, "", None))
            self._put(
                "response.reasoning_summary_part.added",
                item_id=open_.item_id,
                output_index=open_.at,
                summary_index=0,
                part={"type": "summary_text", "text": ""},
            )
        open_.text.append(text)
        self._put(
            "response.reasoning_summary_text.delta",
            item_id=open_.item_id,
            output_index=open_.at,
            summary_index=0,
            delta=text,
        )

    def _close_reasoning(self) -> None:
        """End the reasoning that is open; what came sealed with it goes along."""
        open_, self._reasoning = self._reasoning, None
        if open_ is None:
            return
        text = "".join(open_.text)
        place = {"item_id": open_.item_id, "output_index": open_.at, "summary_index": 0}
        self._put("response.reasoning_summary_text.done", **place, text=text)
        self._put("response.reasoning_summary_part.done", **place, part={"type": "summary_text", "text": text})
        self._done(open_.at, reasoning_item(open_.item_id, text, self._sealed()))

    def _sealed(self, calls: Sequence[ToolCall] = ()) -> str | None:
        """Return what must come back of what has come since it was last asked for."""
        sealed = seal(self._extra, calls)
        self._extra = {name: value for name, value in self._extra.items() if name not in FIELDS}
        return sealed

    def _seal_rest(self) -> None:
        """Add an item for what must come back and had no reasoning to go with."""
        for item in [*(self._extra.get("reasoning_items") or ()), *(self._extra.get("output_items") or ())]:
            self._whole(item)
        sealed = self._sealed([call.said() for call in self._calls.values()])
        if sealed is not None:
            self._whole(reasoning_item(f"rs_{new_id()}", "", sealed))

    def _whole(self, item: Mapping[str, Any]) -> None:
        at = self._place()
        self._added(at, item)
        self._done(at, item)

    def _say(self, kind: str, text: str, logprobs: Sequence[Any]) -> None:
        self._close_reasoning()
        message = self._message
        if message is None:
            message = self._message = _Message(self._place())
            self._added(message.at, message_item(message.item_id, (), "in_progress"))
        part = message.parts.get(kind)
        place: dict[str, Any] = {"item_id": message.item_id, "output_index": message.at}
        if part is None:
            part = message.parts[kind] = _Part(len(message.parts), kind)
            self._put("response.content_part.added", **place, content_index=part.at, part=part.shape())
        part.text.append(text)
        part.logprobs += logprobs
        if kind == _REFUSAL:
            self._put("response.refusal.delta", **place, content_index=part.at, delta=text)
        elif text or logprobs:
            self._put("response.output_text.delta", **place, content_index=part.at, delta=text, logprobs=list(logprobs))

    def _annotate(self) -> None:
        """Tell the annotations that have come and belong to a text."""
        message = self._message
        part = None if message is None else message.parts.get(_TEXT)
        if message is None or part is None:
            return
        for note in annotations_of(self._extra["annotations"])[len(part.notes) :]:
            self._put(
                "response.output_text.annotation.added",
                item_id=message.item_id,
                output_index=message.at,
                content_index=part.at,
                annotation_index=len(part.notes),
                annotation=note,
            )
            part.notes.append(note)

    def _close_message(self, status: str) -> None:
        message = self._message
        if message is None:
            return
        place: dict[str, Any] = {"item_id": message.item_id, "output_index": message.at}
        for part in message.parts.values():
            shape = part.shape()
            if part.kind == _REFUSAL:
                self._put("response.refusal.done", **place, content_index=part.at, refusal=shape["refusal"])
            else:
                told = {"text": shape["text"], "logprobs": shape["logprobs"]}
                self._put("response.output_text.done", **place, content_index=part.at, **told)
            self._put("response.content_part.done", **place, content_index=part.at, part=shape)
        parts = [part.shape() for part in message.parts.values()]
        self._done(message.at, message_item(message.item_id, parts, status, self._extra.get("phase")))

    def _call(self, delta: ToolCallDelta) -> None:
        self._close_reasoning()
        call = self._calls.get(delta.index)
        if call is None:
            call = self._calls[delta.index] = _Call(self._place(), delta)
            self._added(call.at, call_item(call.said(), call.item_id, "in_progress"))
        if delta.extra is not None:
            call.extra = merged(call.extra, delta.extra)
        if delta.arguments:
            call.arguments.append(delta.arguments)
            name = "custom_tool_call_input" if call.custom else "function_call_arguments"
            place = {"item_id": call.item_id, "output_index": call.at}
            self._put(f"response.{name}.delta", **place, delta=delta.arguments)

    def _close_call(self, call: _Call, status: str) -> None:
        said = call.said()
        place = {"item_id": call.item_id, "output_index": call.at}
        if call.custom:
            self._put("response.custom_tool_call_input.done", **place, input=said.arguments)
        else:
            self._put("response.function_call_arguments.done", **place, arguments=said.arguments, name=said.name)
        self._done(call.at, call_item(said, call.item_id, status))

    def _refused(self) -> bool:
        return self._message is not None and _REFUSAL in self._message.parts

    def _place(self) -> int:
        """Return the place of the next item; it is filled when the item is done."""
        self._items.append(None)
        return len(self._items) - 1

    def _added(self, at: int, item: Mapping[str, Any]) -> None:
        self._put("response.output_item.added", output_index=at, item=item)

    def _done(self, at: int, item: Mapping[str, Any]) -> None:
        self._items[at] = item
        self._put("response.output_item.done", output_index=at, item=item)

    def _put(self, kind: str, /, **said: Any) -> None:
        self._out.append(_event(kind, self._sequence, said))
        self._sequence += 1

    def _taken(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)


class RelayedEvents:
    """Passes a provider's own events on, byte for byte.

    Args:
        take_frames: returns those that came since it was last called, as pairs of name and data.
    """

    def __init__(self, take_frames: Callable[[], list[RawEvent]]) -> None:
        self._take_frames = take_frames
        self._sequence = 0

    def take(self, chunks: Sequence[TokenChunk]) -> bytes:
        """Return what goes out for one read."""
        del chunks
        frames = self._take_frames()
        self._sequence += len(frames)
        return b"".join([frame(name, data) for name, data in frames])

    def end(self) -> bytes:
        """Return what is left to be said: nothing."""
        return b""

    def fail(self, refusal: Refusal) -> bytes:
        """Return the event that ends an answer which broke."""
        return _event("error", self._sequence, _error_of(refusal))


def _event(name: str, number: int, said: Mapping[str, Any]) -> bytes:
    return frame(name.encode(), _encode({"type": name, "sequence_number": number, **said}))


def _error_of(refusal: Refusal) -> dict[str, Any]:
    """Return an error told flat, as the API documents it, and nested, as it also comes.

    The official package raises for what is nested, and only for that.
    """
    flat = {"code": refusal.code, "message": refusal.message, "param": refusal.param}
    return {**flat, **refusal.openai()}
