"""How long to wait before an attempt is repeated: capped exponential backoff with jitter.

Formula, with d = min(max, initial * multiplier ** attempt) and u uniform in [0, 1):

    none    d
    equal   d / 2 + u * d / 2
    full    u * d

Full jitter spreads clients that failed at the same instant best; see "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015.
"""

from __future__ import annotations

import math
import secrets
from typing import Protocol

import msgspec

from spillway.core.options import Jitter

_JITTERS = ("none", "equal", "full")
_MOST_STEPS = 1 << 53


class RandomSource(Protocol):
    """A source of uniform floats in [0, 1)."""

    def random(self) -> float:
        """Return the next float in [0, 1)."""
        ...


_ENTROPY: RandomSource = secrets.SystemRandom()


class BackoffPolicy(msgspec.Struct, frozen=True):
    """The shape of a backoff.

    Args:
        initial: seconds before the first repetition, before jitter.
        max: the most seconds before any repetition.
        multiplier: growth from one attempt to the next, at least 1.
        jitter: `none`, `equal` or `full`.

    Raises:
        ValueError: a value is out of range.
    """

    initial: float = 1.0
    max: float = 60.0
    multiplier: float = 2.0
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        for name, least in (("initial", 0.0), ("max", 0.0), ("multiplier", 1.0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise ValueError(f"{name} must be a number >= {least:g}, not {value!r}")
        if self.jitter not in _JITTERS:
            raise ValueError(f"jitter must be one of {', '.join(_JITTERS)}, not {self.jitter!r}")


def compute_backoff(policy: BackoffPolicy, attempt: int, rng: RandomSource | None = None) -> float:
    """Return the seconds to wait after the failure of `attempt`; never overflows.

    Args:
        policy: the shape.
        attempt: 0-based; less than 0 counts as 0.
        rng: where jitter comes from; None: the machine's entropy.
    """
    steps = min(max(attempt, 0), _MOST_STEPS)
    if policy.initial == 0.0:
        return 0.0
    try:
        delay = min(policy.max, policy.initial * policy.multiplier**steps)
    except OverflowError:
        delay = policy.max
    if policy.jitter == "none":
        return delay
    share = (_ENTROPY if rng is None else rng).random()
    if policy.jitter == "equal":
        return delay / 2 + share * delay / 2
    return share * delay
