"""Answers: a pure function of the seed and the question.

A text answer is a row of pieces, one word with its blank each; a stream sends one piece a chunk and a unary answer
joins them, so both are the same text. Every piece is one output token. Output limits and stop sequences cut that row.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator

import msgspec

from spillway.sim.ask import Ask, Tool
from spillway.sim.schema import example
from spillway.sim.vocabulary import OPENING, SPACED

LEAST_WORDS = 8
MOST_WORDS = 64
MOST_ASKED_WORDS = 200_000
FRAGMENT = 6

REFUSAL = "decline to answer"
"""Words in the last user text that the model refuses."""

_REFUSAL_PIECES = ("I'm", " sorry,", " but", " I", " can't", " help", " with", " that.")

_asked_length = re.compile(r"\b(\d{1,6}) words\b")


class Call(msgspec.Struct, frozen=True):
    """A tool call; `arguments` is JSON, free text for a custom tool, and `pieces` are its fragments."""

    name: str
    arguments: bytes
    pieces: tuple[str, ...] = ()
    custom: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says.

    `finish` is `stop`, `length`, `stop_sequence` or `tool`. With a `call` the pieces are fragments of its arguments;
    `more_calls` are those beside it. `others` are the further answers, where several were asked for.
    Invariant: `output_tokens == len(thought) + len(pieces)`, plus one for the name of a call, plus those of more calls
    and of the others.
    """

    digest: bytes
    thought: tuple[str, ...]
    pieces: tuple[str, ...]
    call: Call | None
    finish: str
    stop_sequence: str | None
    input_tokens: int
    output_tokens: int
    more_calls: tuple[Call, ...] = ()
    others: tuple[Answer, ...] = ()
    refused: bool = False

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls, in order."""
        return () if self.call is None else (self.call, *self.more_calls)

    @property
    def all(self) -> tuple[Answer, ...]:
        """This answer and the others."""
        return (self, *self.others)

    @property
    def text(self) -> str:
        """The whole text; empty for a tool call."""
        return "" if self.call is not None else "".join(self.pieces)


def compose(seed: int, ask: Ask) -> Answer:
    """Return the one answer to `ask` under `seed`, or the first with the others.

    A tool is called when the question forces one, or when its last user text contains "call <tool>" and no tool result
    follows; where the dialect can write several calls, also each that stands there as "and <tool>". The text has as
    many words as the last user text asks for ("in 500 words"), else 8 to 64 by the hash.
    """
    digest = hashlib.blake2b(ask.fingerprint, key=str(seed).encode()[:64], digest_size=16).digest()
    first = _answer(ask, digest)
    if ask.answers == 1:
        return first
    digests = [hashlib.blake2b(digest + at.to_bytes(2), digest_size=16).digest() for at in range(1, ask.answers)]
    others = tuple(_answer(ask, each) for each in digests)
    spent = first.output_tokens + sum(other.output_tokens for other in others)
    return msgspec.structs.replace(first, others=others, output_tokens=spent)


def _answer(ask: Ask, digest: bytes) -> Answer:
    thought = _words(digest + b"thought", 4 + digest[1] % 8) if ask.thinking else ()
    calls = tuple(_call(tool, digest, at) for at, tool in enumerate(_called(ask)))
    if calls:
        return Answer(
            digest=digest,
            thought=thought,
            pieces=calls[0].pieces,
            call=calls[0],
            more_calls=calls[1:],
            finish="tool",
            stop_sequence=None,
            input_tokens=ask.input_tokens,
            output_tokens=len(thought) + sum(len(call.pieces) + 1 for call in calls),
        )
    if "refusal" in ask.wants and REFUSAL in ask.last_user:
        return msgspec.structs.replace(_cut(ask, digest, thought, _REFUSAL_PIECES), refused=True)
    if ask.json_schema is not None:
        pieces = _fragments(msgspec.json.encode(example(ask.json_schema, _stream(digest))).decode())
    else:
        pieces = _words(digest, _length(ask.last_user, digest))
    return _cut(ask, digest, thought, pieces)


def _call(tool: Tool, digest: bytes, at: int) -> Call:
    own = digest if at == 0 else digest + at.to_bytes(2)
    if tool.custom:
        pieces = _words(own, LEAST_WORDS)
        return Call(tool.name, "".join(pieces).encode(), pieces, custom=True)
    arguments = msgspec.json.encode(example(tool.schema, _stream(own)))
    return Call(tool.name, arguments, _fragments(arguments.decode()))


def _cut(ask: Ask, digest: bytes, thought: tuple[str, ...], pieces: tuple[str, ...]) -> Answer:
    finish, matched = "stop", None
    if ask.stop:
        text = "".join(pieces)
        found = [(at, stop) for stop in ask.stop if (at := text.find(stop)) >= 0]
        if found:
            at, matched = min(found)
            finish, pieces = "stop_sequence", _upto(pieces, at)
    if ask.max_output is not None and len(thought) + len(pieces) > ask.max_output:
        thought = thought[: ask.max_output]
        pieces = pieces[: ask.max_output - len(thought)]
        finish, matched = "length", None
    return Answer(
        digest=digest,
        thought=thought,
        pieces=pieces,
        call=None,
        finish=finish,
        stop_sequence=matched,
        input_tokens=ask.input_tokens,
        output_tokens=len(thought) + len(pieces),
    )


def _called(ask: Ask) -> list[Tool]:
    if not ask.tools:
        return []
    if ask.forced_tool is not None:
        return [next((tool for tool in ask.tools if tool.name == ask.forced_tool), ask.tools[0])]
    if ask.after_tool:
        return []
    first = next((tool for tool in ask.tools if f"call {tool.name}" in ask.last_user), None)
    if first is None:
        return []
    if not ask.parallel:
        return [first]
    words = ask.last_user
    return [
        first,
        *(
            tool
            for tool in ask.tools
            if tool is not first and (f"call {tool.name}" in words or f"and {tool.name}" in words)
        ),
    ]


def _length(last_user: str, digest: bytes) -> int:
    wanted = _asked_length.search(last_user)
    if wanted is not None:
        return max(1, min(MOST_ASKED_WORDS, int(wanted[1])))
    return LEAST_WORDS + digest[0] % (MOST_WORDS - LEAST_WORDS + 1)


def _words(digest: bytes, count: int) -> tuple[str, ...]:
    picks = hashlib.shake_128(digest).digest(count)
    pieces = [SPACED[pick] for pick in picks]
    pieces[0] = OPENING[picks[0]]
    for at in range(11, count, 12):
        pieces[at] += "."
        if at + 1 < count:
            pieces[at + 1] = f" {OPENING[picks[at + 1]]}"
    if not pieces[-1].endswith("."):
        pieces[-1] += "."
    return tuple(pieces)


def _fragments(text: str) -> tuple[str, ...]:
    return tuple(text[at : at + FRAGMENT] for at in range(0, len(text), FRAGMENT))


def _upto(pieces: tuple[str, ...], end: int) -> tuple[str, ...]:
    kept: list[str] = []
    for piece in pieces:
        if end <= 0:
            break
        kept.append(piece[:end])
        end -= len(piece)
    return tuple(kept)


def _stream(digest: bytes) -> Iterator[int]:
    for block in itertools.count():
        yield from hashlib.shake_128(digest + block.to_bytes(4, "big")).digest(64)
