"""Function calls of an answer, whole or put together of pieces with JSON paths."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from spillway.core.errors import ServerError
from spillway.core.reply import ToolCallDelta
from spillway.providers.gemini.response import FunctionCall, PartialArg
from spillway.providers.reading import is_set

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,9})\]|\[(['\"])(.*?)\3\]")
_MOST_ITEMS = 100_000


def signed(signature: str) -> dict[str, Any]:
    """Return the field that holds a signature, as Google's OpenAI-compatible API has it."""
    return {"extra_content": {"google": {"thought_signature": signature}}}


def arguments_of(args: msgspec.Raw) -> str:
    """Return a call's arguments as they were written, without the blanks between them: a stream has others."""
    if not is_set(args):
        return "{}"
    return msgspec.json.format(bytes(args).decode("utf-8", "replace"), indent=-1)


class OpenCall:
    """A call whose arguments come in pieces.

    Args:
        index: which of the answer's calls it is.
    """

    __slots__ = ("_value", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self._value: dict[str, Any] = {}

    def take(self, pieces: list[PartialArg] | None) -> None:
        """Put pieces in their places; texts at the same place are joined.

        Raises:
            ServerError: a path can't be followed (`malformed`).
        """
        for piece in pieces or ():
            steps = _steps(piece.json_path)
            holder: Any = self._value
            for at, step in enumerate(steps[:-1]):
                holder = _enter(holder, step, [] if isinstance(steps[at + 1], int) else {}, piece.json_path)
            _put(holder, steps[-1], piece)

    def closed(self) -> ToolCallDelta:
        """Return the arguments, now that all of them are here."""
        return ToolCallDelta(index=self.index, arguments=msgspec.json.encode(self._value).decode())


def is_piece(call: FunctionCall) -> bool:
    """Whether it begins a call that goes on."""
    return call.will_continue is True or call.partial_args is not None


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1
    while path[:1] == "$" and at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            break
        steps.append(int(match[2]) if match[2] else match[1] or match[4])
        at = match.end()
    if not steps or at < len(path) or isinstance(steps[0], int):
        raise _unfollowed(path)
    return steps


def _enter(holder: Any, step: str | int, empty: Any, path: str) -> Any:
    found = _get(holder, step, path)
    if found is None:
        found = empty
        _set(holder, step, found)
    return found


def _put(holder: Any, step: str | int, piece: PartialArg) -> None:
    old = _get(holder, step, piece.json_path)
    if piece.string_value is not None:
        _set(holder, step, old + piece.string_value if isinstance(old, str) else piece.string_value)
    elif piece.number_value is not None:
        _set(holder, step, piece.number_value)
    else:
        _set(holder, step, piece.bool_value)


def _get(holder: Any, step: str | int, path: str) -> Any:
    if isinstance(holder, dict) and isinstance(step, str):
        return holder.get(step)
    if isinstance(holder, list) and isinstance(step, int) and step < _MOST_ITEMS:
        return holder[step] if step < len(holder) else None
    raise _unfollowed(path)


def _set(holder: Any, step: Any, value: Any) -> None:
    if isinstance(holder, list):
        holder.extend([None] * (step + 1 - len(holder)))
    holder[step] = value


def _unfollowed(path: str) -> ServerError:
    return ServerError(f"a call's arguments have a path that can't be followed: {path[:80]!r}", reason="malformed")
