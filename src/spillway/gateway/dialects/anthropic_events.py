"""A streamed answer as the events of Anthropic's messages: one block open at a time, each whole in the end.

Other APIs let the fragments of several calls come mixed. Here the first call that is not whole holds the floor: what
else comes meanwhile waits, and is told when that call is whole, or at the end.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.reply import FinishReason, TokenChunk, ToolCallDelta, Usage
from spillway.gateway.dialects.anthropic_answer import (
    call_block,
    call_id_of,
    ending_of,
    image_block,
    listed,
    signed,
    usage_of,
)
from spillway.gateway.dialects.anthropic_signature import SIGNATURE
from spillway.gateway.dialects.frames import frame
from spillway.gateway.refusals import Refusal
from spillway.remote.sse import RawEvent

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""What is sent in long silence."""

_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_TEXT, _THINKING = "text", "thinking"
_BEGINS: dict[str, dict[str, Any]] = {
    _TEXT: {"type": "text", "text": ""},
    _THINKING: {"type": "thinking", "thinking": "", "signature": ""},
}


def event(name: str, fields: Mapping[str, Any]) -> bytes:
    """Return one event as it is written."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode({"type": name, **fields}))


class Relay:
    """Passes the events of a deployment that speaks Anthropic's API on, as they came.

    Args:
        take_frames: returns those that came since it was last called, as pairs of name and data.
        request_id: what an error names.
    """

    __slots__ = ("_request_id", "_take_frames")

    def __init__(self, take_frames: Callable[[], list[RawEvent]], *, request_id: str) -> None:
        self._take_frames = take_frames
        self._request_id = request_id

    def take(self, chunks: Sequence[TokenChunk]) -> bytes:
        """Return the events of the next read."""
        del chunks
        return b"".join([frame(name, data) for name, data in self._take_frames()])

    def end(self) -> bytes:
        """Return what came since the last read."""
        return self.take(())

    def fail(self, refusal: Refusal) -> bytes:
        """Return the event that ends a message which broke."""
        return event("error", refusal.anthropic(self._request_id))


class _Call:
    """A call whose fragments come."""

    __slots__ = ("_looked_at", "arguments", "id", "name", "place", "told")

    def __init__(self, place: int) -> None:
        self.place = place
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.told = False  # whether its block has begun
        self._looked_at = 0

    def whole(self) -> bool:
        """Whether its arguments are a JSON object from brace to brace."""
        pieces = self.arguments
        if len(pieces) == self._looked_at or not pieces[-1].rstrip().endswith("}"):
            return False
        self._looked_at = len(pieces)
        try:
            return isinstance(_decode("".join(pieces)), dict)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False


class MessageEvents:
    """Makes events of the chunks of one answer.

    Args:
        model: what the caller asked for.
        request_id: what an error names.

    Invariants: however the answer is split into chunks and reads, the events add up to the same message.
    """

    __slots__ = (
        "_about",
        "_begun",
        "_calls",
        "_finish",
        "_id",
        "_index",
        "_model",
        "_open",
        "_refusal",
        "_request_id",
        "_said",
        "_usage",
        "_waiting",
    )

    def __init__(self, *, model: str, message_id: str, request_id: str = "") -> None:
        self._model = model
        self._request_id = request_id
        self._begun = False
        self._id = message_id
        self._index = -1
        self._open: str | _Call | None = None
        self._said: list[str] = []  # of the thinking that is open
        self._calls: dict[int, _Call] = {}
        self._waiting: list[TokenChunk | _Call] = []
        self._refusal: list[str] = []
        self._finish: FinishReason | None = None
        self._about: dict[str, Any] = {}
        self._usage: Usage | None = None

    def _message_start(self) -> bytes:
        """Return the event that begins the message; how many tokens it took is told at its end."""
        self._begun = True
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._usage),
        }
        return event("message_start", {"message": message})

    def take(self, chunks: Sequence[TokenChunk]) -> bytes:
        """Return the events of the next chunks, the first ones behind the message's own."""
        out: list[bytes] = [] if self._begun else [self._message_start()]
        for chunk in chunks:
            if chunk.usage is not None:
                self._usage = chunk.usage
            if chunk.about is not None:
                self._about.update(chunk.about)
            if chunk.finish_reason is not None:
                self._finish = chunk.finish_reason
            if chunk.refusal_delta:
                self._refusal.append(chunk.refusal_delta)
            self._hear(chunk, out)
        return b"".join(out)

    def end(self) -> bytes:
        """Return the events that end the message: its open block, why it ended, and its tokens."""
        out: list[bytes] = [] if self._begun else [self._message_start()]
        self._close(out)
        while self._waiting:
            self._go_on(out)
            self._close(out)
        ending = ending_of(self._finish, self._about, "".join(self._refusal))
        out.append(event("message_delta", {"delta": ending, "usage": usage_of(self._usage, self._about)}))
        out.append(_STOP)
        return b"".join(out)

    def fail(self, refusal: Refusal) -> bytes:
        """Return the event that ends a message which broke."""
        return event("error", refusal.anthropic(self._request_id))

    def _hear(self, chunk: TokenChunk, out: list[bytes]) -> None:
        if chunk.reasoning_delta or chunk.text_delta or chunk.refusal_delta or chunk.extra:
            if isinstance(self._open, _Call):
                self._waiting.append(msgspec.structs.replace(chunk, tool_call_delta=None))
                self._go_on(out)
            else:
                self._say(chunk, out)
        if chunk.tool_call_delta is not None:
            self._hear_call(chunk.tool_call_delta, out)

    def _go_on(self, out: list[bytes]) -> None:
        """Tell what waits, as far as the call that holds the floor is whole."""
        while self._waiting:
            if isinstance(self._open, _Call):
                if not self._open.whole():
                    return
                self._close(out)
            first = self._waiting.pop(0)
            if isinstance(first, _Call):
                self._close(out)
                self._open = first
                self._fragment(first, "".join(first.arguments), out)
            else:
                self._say(first, out)

    def _say(self, chunk: TokenChunk, out: list[bytes]) -> None:
        if chunk.reasoning_delta:
            self._piece(_THINKING, chunk.reasoning_delta, out)
            self._said.append(chunk.reasoning_delta)
        for block in listed(chunk.extra, "thinking_blocks"):
            if isinstance(block, Mapping):
                self._thought(block, out)
        for block in listed(chunk.extra, "server_blocks"):
            self._whole(block, out)
        text = chunk.text_delta + chunk.refusal_delta
        if text:
            self._piece(_TEXT, text, out)
        for part in listed(chunk.extra, "images"):
            block = image_block(part)
            if block is not None:
                self._whole(block, out)

    def _piece(self, kind: str, text: str, out: list[bytes]) -> None:
        if self._open != kind:
            self._close(out)
            self._begin(_BEGINS[kind], out)
            self._open = kind
        out.append(self._delta({"type": f"{kind}_delta", kind: text}))

    def _thought(self, block: Mapping[str, Any], out: list[bytes]) -> None:
        """Tell a block of thinking that is whole, of which the thinking mostly was told as it came."""
        thinking = block.get("thinking")
        if block.get("type") != "thinking" or not isinstance(thinking, str):
            self._whole(block, out)
            return
        said = "".join(self._said)
        if self._open == _THINKING and not thinking.startswith(said):
            self._close(out)
            said = ""
        if thinking[len(said) :]:
            self._piece(_THINKING, thinking[len(said) :], out)
        elif self._open != _THINKING:
            self._close(out)
            self._begin(_BEGINS[_THINKING], out)
            self._open = _THINKING
        self._close(out, signature=str(signed(block)["signature"]))

    def _hear_call(self, delta: ToolCallDelta, out: list[bytes]) -> None:
        call = self._calls.get(delta.index)
        new = call is None
        if call is None:
            call = self._calls[delta.index] = _Call(len(self._calls))
            self._waiting.append(call)
        call.id = call.id or delta.id
        call.name = call.name or delta.name
        if delta.arguments:
            call.arguments.append(delta.arguments)
        if new:
            self._go_on(out)
        elif self._open is call:
            self._fragment(call, delta.arguments, out)

    def _fragment(self, call: _Call, arguments: str, out: list[bytes]) -> None:
        if not call.told:
            if not call.name:
                return
            self._begin_call(call, out)
        elif arguments:
            out.append(self._delta({"type": "input_json_delta", "partial_json": arguments}))

    def _begin_call(self, call: _Call, out: list[bytes]) -> None:
        call.told = True
        self._begin(call_block(call_id_of(call.id, self._id, call.place), call.name, {}), out)
        if call.arguments:
            out.append(self._delta({"type": "input_json_delta", "partial_json": "".join(call.arguments)}))

    def _whole(self, block: Any, out: list[bytes]) -> None:
        self._close(out)
        self._begin(block, out)
        out.append(event("content_block_stop", {"index": self._index}))

    def _begin(self, block: Any, out: list[bytes]) -> None:
        self._index += 1
        out.append(event("content_block_start", {"index": self._index, "content_block": block}))

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self, out: list[bytes], *, signature: str = SIGNATURE) -> None:
        holder, self._open = self._open, None
        if holder is None:
            return
        if holder == _THINKING:
            self._said = []
            out.append(self._delta({"type": "signature_delta", "signature": signature}))
        elif isinstance(holder, _Call) and not holder.told:
            self._begin_call(holder, out)
        out.append(event("content_block_stop", {"index": self._index}))
