"""Streamed chat completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.errors import NetworkError, ServerError
from spillway.core.reply import FinishReason, TokenChunk
from spillway.providers.openai_chat.shapes import (
    ABOUT,
    FINISHES,
    Delta,
    Part,
    Refuse,
    Said,
    UsageShape,
    call_delta,
    extra_of,
    finish_of,
    logprobs_of,
    reasoning_of,
    text_of,
    usage_of,
)
from spillway.providers.openai_chat.thoughts import Thoughts
from spillway.providers.reading import ABSENT, UNREADABLE, decode_object, is_set, reread
from spillway.remote.sse import RawEvent

_DONE = b"[DONE]"
_KNOWN = frozenset({*ABOUT, "object", "created", "choices", "usage", "obfuscation", "error"})


class _PlainChoice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    index: int | None = None
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _RichChoice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    content_filter_results: msgspec.Raw = ABSENT


class _Plain(msgspec.Struct, gc=False):
    """What is looked at in every chunk; the rest of the few that have more is read where it stands."""

    choices: list[_PlainChoice] | None = None
    usage: UsageShape | None = None
    error: msgspec.Raw = ABSENT


class _Rich(msgspec.Struct, gc=False):
    """The same for streams whose deltas have fields that most have not."""

    choices: list[_RichChoice] | None = None
    usage: UsageShape | None = None
    error: msgspec.Raw = ABSENT


_plain = msgspec.json.Decoder(_Plain).decode
_rich = msgspec.json.Decoder(_Rich).decode


class _Progress:
    """What one of the answers has come to."""

    __slots__ = ("calls", "filtered", "finish", "refused", "thoughts")

    def __init__(self) -> None:
        self.calls = 0
        self.refused = False
        self.finish: FinishReason | None = None
        self.filtered = b""
        self.thoughts: Thoughts | None = None


class ChatStream:
    """Makes chunks of the events of one streamed completion, of one or several answers.

    Args:
        refuse: makes the error of an event that says it is one.
    """

    __slots__ = ("_about", "_answers", "_decode", "_joins", "_refuse", "_told", "_usage", "answer_id", "finished")

    def __init__(self, refuse: Refuse) -> None:
        self._joins = False
        self._refuse = refuse
        self._decode: Callable[[bytes], _Plain | _Rich] = _plain
        self._usage: UsageShape | None = None
        self._answers: dict[int, _Progress] = {}
        self._about: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self.answer_id = ""
        self.finished = False

    def join_texts(self) -> None:
        """Have the texts of all events that are taken at once as one chunk, after the others."""
        self._joins = True

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `events` carry; `finished` is set by `[DONE]`.

        Raises:
            ServerError: an event can't be read; the chunks before it are in `out`.
            InferenceError: an event says that it is an error.
        """
        if self._joins:
            texts: list[str] = []
            try:
                self._take(events, out, texts)
            finally:
                if texts:
                    out.append(TokenChunk(text_delta="".join(texts)))
        else:
            self._take(events, out, None)

    def _take(  # noqa: C901, PLR0912 # one loop: it runs for every token
        self, events: Sequence[RawEvent], out: list[TokenChunk], texts: list[str] | None
    ) -> None:
        answers = self._answers
        for name, data in events:
            try:
                chunk = self._decode(data)
            except UNREADABLE as error:
                if data.startswith(_DONE):
                    self._end(out)
                    return
                # From here on every field is looked for: one that most streams have not has come, or bytes are broken.
                self._decode = _rich
                chunk = self._again(data, error)
            if chunk.error is not ABSENT or name == b"error":
                self._check(chunk, name, data)
            for choice in chunk.choices or ():
                index = choice.index or 0
                if index not in answers:
                    self._open(index, data)
                said = choice.delta
                if said is not None:
                    text = said.content
                    if text and choice.logprobs is None and isinstance(text, str):
                        if texts is None or index:
                            out.append(TokenChunk(text_delta=text, choice=index))
                        else:
                            texts.append(text)
                    elif text or choice.logprobs is not None:
                        _take_tokens(text, choice, index, out)
                    if said.tool_calls or said.reasoning_content or said.refusal or said.reasoning:
                        _take_rare(said, index, answers[index], out)
                if isinstance(choice, _RichChoice):
                    _take_more(choice, index, answers[index], out)
                if choice.finish_reason is not None:
                    self._take_finish(choice.finish_reason, index, out)
            if chunk.usage is not None:
                self._usage = chunk.usage
            if not chunk.choices:
                self._take_beside(data, out)

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

    def _again(self, data: bytes, error: Exception) -> _Plain | _Rich:
        try:
            return _rich(data)
        except UNREADABLE:
            return reread(_rich, data, error)

    def _check(self, chunk: _Plain | _Rich, name: bytes | None, data: bytes) -> None:
        if is_set(chunk.error) or (name == b"error" and not chunk.choices):
            raise self._refuse(data)

    def _open(self, index: int, data: bytes) -> None:
        """Begin with an answer; the first chunk of all tells of the whole."""
        if not self._answers:
            fields = decode_object(data)
            self._take_about(fields)
            self.answer_id = str(fields.get("id") or "")
        self._answers[index] = _Progress()

    def _take_about(self, fields: Mapping[str, Any]) -> None:
        for name in ABOUT:
            value = fields.get(name)
            if value and value != self._told.get(name):
                self._about[name] = self._told[name] = value

    def _about_now(self) -> dict[str, Any] | None:
        """Return what is new about the answer as a whole."""
        about, self._about = self._about, {}
        return about or None

    def _take_beside(self, data: bytes, out: list[TokenChunk]) -> None:
        """Take an event without an answer in it: usage, what a filter says, or one that is not known."""
        fields = decode_object(data)
        self._take_about(fields)
        if any(value for name, value in fields.items() if name not in _KNOWN):
            out.append(TokenChunk(raw=data))

    def _take_finish(self, reason: str, index: int, out: list[TokenChunk]) -> None:
        """Note why an answer ended; a filter that looks later may still change that."""
        answer = self._answers[index]
        if answer.finish is not None and (reason != "content_filter" or answer.finish is FinishReason.CONTENT_FILTER):
            return
        if reason not in FINISHES:
            self._about["native_finish_reason"] = reason
        answer.finish = finish_of(reason, calls=answer.calls > 0, refused=answer.refused)
        out.append(TokenChunk(finish_reason=answer.finish, choice=index, about=self._about_now()))

    def _end(self, out: list[TokenChunk]) -> None:
        if not self._answers:
            raise ServerError("the stream had no choices", reason="empty")
        self.finished = True
        for index, answer in self._answers.items():
            if answer.thoughts is not None and (rest := answer.thoughts.rest()):
                out.append(TokenChunk(extra={"thinking_blocks": rest}, choice=index))
            if answer.finish is None:
                answer.finish = finish_of(None, calls=answer.calls > 0, refused=answer.refused)
                out.append(TokenChunk(finish_reason=answer.finish, choice=index))
        about = self._about_now()
        if self._usage is not None or about is not None:
            usage = None if self._usage is None else usage_of(self._usage)
            out.append(TokenChunk(usage=usage, about=about))


def _take_tokens(
    content: str | list[Part] | None, choice: _PlainChoice | _RichChoice, index: int, out: list[TokenChunk]
) -> None:
    """Take text in parts, and log probabilities with the text they belong to."""
    text = text_of(content)
    logprobs = None if choice.logprobs is None else logprobs_of(choice.logprobs)
    if text or logprobs is not None:
        out.append(TokenChunk(text_delta=text, choice=index, logprobs=logprobs))


def _take_rare(said: Delta, index: int, answer: _Progress, out: list[TokenChunk]) -> None:
    reasoning = reasoning_of(said)
    if reasoning:
        out.append(TokenChunk(reasoning_delta=reasoning, choice=index))
    if said.refusal:
        answer.refused = True
        out.append(TokenChunk(refusal_delta=said.refusal, choice=index))
    for call in said.tool_calls or ():
        if call.index is None and call.id:
            answer.calls += 1
        at = max(0, answer.calls - 1) if call.index is None else call.index
        answer.calls = max(answer.calls, at + 1)
        out.append(TokenChunk(tool_call_delta=call_delta(call, at), choice=index))


def _take_more(choice: _RichChoice, index: int, answer: _Progress, out: list[TokenChunk]) -> None:
    """Take what most deltas have not; a content filter mostly says again what it said before."""
    extra = (extra_of(choice.delta) if choice.delta is not None else None) or {}
    fragments = extra.pop("thinking_blocks", None)
    if fragments is not None:
        answer.thoughts = answer.thoughts or Thoughts()
        whole = answer.thoughts.take(fragments)
        if whole:
            extra["thinking_blocks"] = whole
    said = bytes(choice.content_filter_results)
    if said != answer.filtered and is_set(choice.content_filter_results):
        answer.filtered = said
        extra["content_filter_results"] = msgspec.json.decode(said)
    if extra:
        out.append(TokenChunk(extra=extra, choice=index))
