"""The admission of one call."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum


class Outcome(IntEnum):
    """How a call ended."""

    SUCCESS = 0
    FAILURE = 1
    RELEASE = 2
    INTERRUPTION = 3


# Looking a member up in its class costs a tenth of a microsecond.
SUCCESS = Outcome.SUCCESS
FAILURE = Outcome.FAILURE
RELEASE = Outcome.RELEASE
INTERRUPTION = Outcome.INTERRUPTION


class BreakerTicket:
    """Permission for one call, to be given back with its outcome.

    Invariants: the first of `success`, `failure` and `release` counts, further ones do nothing, and none of them does
    once the circuit has left the state the call was admitted in.

    Attributes:
        generation: number of that state.
        probe: number of the probe, 0 for a call through a closed circuit.
        outcome: what its end was, None while it is open.
    """

    __slots__ = ("_settle", "generation", "outcome", "probe")

    def __init__(
        self,
        settle: Callable[[BreakerTicket, Outcome, float | None, BaseException | None], None],
        generation: int,
        probe: int,
    ) -> None:
        self._settle = settle
        self.generation = generation
        self.probe = probe
        self.outcome: Outcome | None = None

    def success(self, elapsed_s: float | None = None) -> None:
        """Count a success; `elapsed_s` is the time to its first content, which may make it a slow call."""
        self._settle(self, SUCCESS, elapsed_s, None)

    def failure(self, error: BaseException | None = None) -> None:
        """Count a failure, unless `error` says that it does not count (then this is a `release`)."""
        self._settle(self, FAILURE if counts(error) else RELEASE, None, error)

    def release(self) -> None:
        """Count nothing; a probe's slot is free again."""
        self._settle(self, RELEASE, None, None)

    def interrupted(self, error: BaseException | None = None) -> None:
        """Count a failure of its own for an answer that broke after its `success`; before one, it is a `failure`."""
        self._settle(self, INTERRUPTION if counts(error) else RELEASE, None, error)

    def __repr__(self) -> str:
        what = f"probe {self.probe}" if self.probe else "call"
        end = "open" if self.outcome is None else self.outcome.name.lower()
        return f"<BreakerTicket {what} generation {self.generation} {end}>"


def counts(error: BaseException | None) -> bool:
    """Return whether a failure with `error` speaks of the provider's health: as it says itself, else any Exception."""
    return error is None or getattr(error, "counts_as_circuit_failure", isinstance(error, Exception))
