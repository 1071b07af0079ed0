"""Whole responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from spillway.core.errors import InferenceError, ServerError
from spillway.core.reply import TokenChunk, ToolCallDelta
from spillway.providers.openai.responses.items import (
    BETWEEN_THOUGHTS,
    CALLS,
    Response,
    annotation_of,
    call_of,
    kept_of,
    parts_of,
    text_of,
    thoughts_of,
)
from spillway.providers.openai_chat import Refuse
from spillway.providers.reading import UNREADABLE, unreadable

Failed = Callable[[Any], InferenceError]
"""Makes an error of the object that says why a response failed."""

_response = msgspec.json.Decoder(Response).decode
_UNFINISHED = frozenset({"queued", "in_progress"})


def decode_response(body: bytes, refuse: Refuse, failed: Failed) -> tuple[list[TokenChunk], str]:
    """Return a whole response as chunks, and its id.

    Raises:
        ServerError: it can't be read, is not finished, or lacks what every response has.
        InferenceError: it failed.
    """
    try:
        whole = _response(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    check(whole, failed)
    if whole.error:
        raise refuse(body)
    if whole.output is None:
        raise ServerError("the answer has no output", reason="schema")
    said = _Said()
    for item in whole.output:
        said.take(item)
    about = whole.about()
    finish = whole.finish(about, calls=bool(said.calls), refused=bool(said.refusals))
    chunks = [TokenChunk(tool_call_delta=call) for call in said.calls]
    last = TokenChunk(
        text_delta="".join(said.texts),
        reasoning_delta=BETWEEN_THOUGHTS.join(said.thoughts),
        refusal_delta="".join(said.refusals),
        usage=whole.counted(whole.output),
        finish_reason=finish,
        logprobs={"content": said.logprobs} if said.logprobs else None,
        extra={**said.extra, **kept_of(whole.output)} or None,
        about=about or None,
    )
    return [*chunks, last], whole.id or ""


def check(response: Response, failed: Failed) -> None:
    """Look whether a response is one that ended well, or was cut.

    Raises:
        ServerError: it was cancelled, or has not ended.
        InferenceError: it failed.
    """
    if response.status == "failed":
        raise failed(response.error)
    if response.status == "cancelled":
        raise ServerError("the response was cancelled at the provider", reason="cancelled")
    if response.status in _UNFINISHED:
        raise ServerError("the response has not ended", reason="schema")


class _Said:
    """What the items of a response say."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.refusals: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[ToolCallDelta] = []
        self.logprobs: list[Any] = []
        self.extra: dict[str, Any] = {}
        self._chars = 0

    def take(self, item: Mapping[str, Any]) -> None:
        kind = item.get("type")
        if kind == "message":
            for part in parts_of(item):
                self._part(part)
        elif kind == "reasoning":
            self.thoughts += thoughts_of(item)
        elif kind in CALLS:
            self.calls.append(call_of(item, len(self.calls), text_of(item, CALLS[str(kind)])))

    def _part(self, part: Mapping[str, Any]) -> None:
        kind = part.get("type")
        if kind == "output_text":
            text = text_of(part)
            self.texts.append(text)
            notes = [annotation_of(each, self._chars) for each in parts_of(part, "annotations")]
            if notes:
                self.extra["annotations"] = [*self.extra.get("annotations", ()), *notes]
            self.logprobs += parts_of(part, "logprobs")
            self._chars += len(text)
        elif kind == "refusal":
            self.refusals.append(text_of(part, "refusal"))
        elif kind == "output_audio":
            sound = {name: part[name] for name in ("data", "transcript") if part.get(name)}
            self.extra["audio"] = {**self.extra.get("audio", {}), **sound}
