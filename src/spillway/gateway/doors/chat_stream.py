"""A streamed answer as OpenAI's `chat.completion.chunk` events: relayed as they came, or written anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.chat_shape import answer_fields, completion_chunk, usage_shape
from spillway.gateway.dialects.frames import frame

if TYPE_CHECKING:
    from spillway.core.reply import TokenChunk, Usage
    from spillway.gateway.refusals import Refusal
    from spillway.remote.sse import RawEvent

DONE = b"data: [DONE]\n\n"
"""What follows the last event of an answer that is whole."""

_encode = msgspec.json.Encoder().encode
_END = b"[DONE]"
_NO_USAGE = (b'"usage":null', b'"usage": null')


class _Glance(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] | None = None


_name = itemgetter(0)
_glance = msgspec.json.Decoder(_Glance).decode


class Relay:
    """Passes a provider's own events on, byte for byte.

    Args:
        take_frames: returns those that came since it was last called, as pairs of name and data.
        include_usage: whether the caller asked for the event that carries nothing but the usage.
    """

    def __init__(self, take_frames: Callable[[], list[RawEvent]], *, include_usage: bool) -> None:
        self._take_frames = take_frames
        self._include_usage = include_usage

    def take(self, chunks: Sequence[TokenChunk]) -> bytes:
        """Return what goes out for one read."""
        del chunks
        frames = self._take_frames()
        if not self._include_usage:
            frames = [frame for frame in frames if b'"usage"' not in frame[1] or not _only_usage(frame[1])]
        if frames and frames[-1][1].startswith(_END):
            del frames[-1]
        if not frames:
            return b""
        if not any(map(_name, frames)):
            run = b"\n\ndata: ".join([data for _, data in frames])
            if run.count(b"\n") == 2 * len(frames) - 2:
                return b"data: %b\n\n" % run
        return b"".join([frame(name, data) for name, data in frames])

    def end(self) -> bytes:
        """Return the end of an answer that is whole."""
        return DONE

    def fail(self, refusal: Refusal) -> bytes:
        """Return the event that ends an answer which broke."""
        return _failed(refusal)


class Script:
    """Writes the events of an answer that came in other words.

    Args:
        model: what the caller asked for.
        completion_id: the answer's id.
        created: seconds since 1970.
        include_usage: whether the last event is to carry the usage.
    """

    def __init__(self, *, model: str, completion_id: str, created: int, include_usage: bool) -> None:
        self._about: dict[str, Any] = {"model": model, "completion_id": completion_id, "created": created}
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._told: dict[str, Any] = {"usage": None} if include_usage else {}
        self._begun: set[int] = set()

    def take(self, chunks: Sequence[TokenChunk]) -> bytes:
        """Return what goes out for one read."""
        out = []
        for chunk in chunks:
            if chunk.usage is not None:
                self._usage = chunk.usage
                chunk = msgspec.structs.replace(chunk, usage=None)  # noqa: PLW2901 # it goes out last
            if chunk.about is not None:
                self._told.update(answer_fields(chunk.about))
            event = completion_chunk(chunk, **self._about)
            if not event["choices"]:
                continue
            event.update(self._told)
            choice = event["choices"][0]
            if choice["index"] not in self._begun:
                self._begun.add(choice["index"])
                choice["delta"] = {"role": "assistant", **choice["delta"]}
            out.append(b"data: " + _encode(event) + b"\n\n")
        return b"".join(out)

    def end(self) -> bytes:
        """Return the usage, where it was asked for, and the end of an answer that is whole."""
        if not self._include_usage or self._usage is None:
            return DONE
        about = self._about
        event = {
            "id": about["completion_id"],
            "object": "chat.completion.chunk",
            "created": about["created"],
            "model": about["model"],
            "choices": [],
            **self._told,
            "usage": usage_shape(self._usage),
        }
        return b"data: " + _encode(event) + b"\n\n" + DONE

    def fail(self, refusal: Refusal) -> bytes:
        """Return the event that ends an answer which broke."""
        return _failed(refusal)


def _failed(refusal: Refusal) -> bytes:
    return b"data: " + _encode(refusal.openai()) + b"\n\n"


def _only_usage(data: bytes) -> bool:
    if _NO_USAGE[0] in data or _NO_USAGE[1] in data:
        return False
    try:
        return not _glance(data).choices
    except msgspec.DecodeError:
        return False
