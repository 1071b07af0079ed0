"""The faults that the simulator can inject, by the names that a header or a scenario gives them."""

from __future__ import annotations

import difflib
import enum
import math
from collections.abc import Iterable

import msgspec

DEFAULT_AFTER_CHUNKS = 5
DEFAULT_DRIP_S = 0.05


class FaultKind(enum.Enum):
    """How a fault takes hold of a request, and what the `=N` of its name means."""

    REFUSAL = enum.auto()
    """A refusal of the provider's own; takes no argument."""
    TIMED_REFUSAL = enum.auto()
    """A refusal that names its wait; needs seconds."""
    SILENT = enum.auto()
    """Strikes before the first header; takes no argument."""
    MID_STREAM = enum.auto()
    """Strikes after N content chunks, 5 unless told; in a unary answer in the middle of the body."""
    DRIP = enum.auto()
    """The whole answer, byte by byte; seconds between bytes."""
    ODD = enum.auto()
    """The whole answer, with what nobody knows yet; takes no argument."""


KINDS: dict[str, FaultKind] = {
    "429": FaultKind.REFUSAL,
    "429-retry-after": FaultKind.TIMED_REFUSAL,
    "insufficient-quota": FaultKind.REFUSAL,
    "500": FaultKind.REFUSAL,
    "503": FaultKind.REFUSAL,
    "529": FaultKind.REFUSAL,
    "401": FaultKind.REFUSAL,
    "403": FaultKind.REFUSAL,
    "content-filter": FaultKind.REFUSAL,
    "context-length": FaultKind.REFUSAL,
    "html-error-page": FaultKind.REFUSAL,
    "stall-before-headers": FaultKind.SILENT,
    "reset-before-headers": FaultKind.SILENT,
    "stall-mid-stream": FaultKind.MID_STREAM,
    "reset-mid-stream": FaultKind.MID_STREAM,
    "truncated-stream": FaultKind.MID_STREAM,
    "error-event-mid-stream": FaultKind.MID_STREAM,
    "garbage-json": FaultKind.MID_STREAM,
    "huge-line": FaultKind.MID_STREAM,
    "invalid-utf8": FaultKind.MID_STREAM,
    "slow-drip": FaultKind.DRIP,
    "unknown-fields": FaultKind.ODD,
}


class FaultError(ValueError):
    """A fault that can't be read; the message names the nearest valid one."""


class Fault(msgspec.Struct, frozen=True):
    """One fault to inject; `argument` is the number after `=`."""

    name: str
    argument: float | None = None

    @property
    def kind(self) -> FaultKind:
        """How the fault takes hold."""
        return KINDS[self.name]

    @property
    def after_chunks(self) -> int:
        """After how many content chunks a mid-stream fault strikes."""
        return DEFAULT_AFTER_CHUNKS if self.argument is None else int(self.argument)

    @property
    def drip_s(self) -> float:
        """Seconds between the bytes of a slow drip."""
        return DEFAULT_DRIP_S if self.argument is None else self.argument


def parse_fault(text: str) -> Fault:
    """Read `NAME` or `NAME=N`.

    Raises:
        FaultError: The name is unknown, or its argument is missing, unwanted or no number.
    """
    name, equals, number = text.strip().partition("=")
    kind = KINDS.get(name)
    if kind is None:
        raise FaultError(f"unknown fault {name!r} (nearest: {nearest(name, KINDS)!r})")
    if kind is FaultKind.TIMED_REFUSAL and not equals:
        raise FaultError(f"fault {name!r} needs its seconds: '{name}=2'")
    if not equals:
        return Fault(name)
    if kind in {FaultKind.REFUSAL, FaultKind.SILENT, FaultKind.ODD}:
        raise FaultError(f"fault {name!r} takes no argument")
    try:
        argument = float(number)
    except ValueError:
        argument = math.nan
    if not (math.isfinite(argument) and argument >= 0):
        raise FaultError(f"fault {name!r}: {number!r} is not a number of at least 0")
    return Fault(name, argument)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the entry of `known` that looks most like `word`."""
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
