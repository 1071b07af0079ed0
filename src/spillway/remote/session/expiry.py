"""Credentials that end: when a new one is fetched, and what becomes of those who wait for it.

    keep     before the early window: the present token, nothing is done
    early    the present token; one fetch in the background, again with backoff when it fails
    late     everybody waits for the one fetch; when it fails they are refused, and it is tried again once a second

Pure: it is handed the time and decides.
"""

from __future__ import annotations

import math

import msgspec

from spillway.core.secrets import Secret

_LONGEST_BACKOFF_S = 60.0


class Token(Secret):
    """A secret that ends.

    Attributes:
        expires_at: the loop's seconds, counted from its receipt: whose clock is wrong does not matter.
    """

    __slots__ = ("expires_at",)

    def __init__(self, value: str, *, expires_at: float = math.inf) -> None:
        super().__init__(value)
        self.expires_at = expires_at


class Windows(msgspec.Struct, frozen=True):
    """From when on a generation is to be replaced (`early_at`), and from when on it is used no more (`late_at`)."""

    early_at: float = math.inf
    late_at: float = math.inf


def windows_of(secrets: tuple[Secret, ...], now: float, *, early_s: float, late_s: float) -> Windows:
    """Return the windows of secrets received at `now`; the first of them that ends decides.

    A token that lives shorter than twice `early_s` has the last half of its life as the early window, and at most the
    last quarter as the late one.
    """
    ends = min((getattr(secret, "expires_at", math.inf) for secret in secrets), default=math.inf)
    if ends == math.inf:
        return Windows()
    life = max(0.0, ends - now)
    return Windows(ends - min(early_s, life / 2), ends - min(late_s, life / 4))


class Refreshing:
    """How fetching the next token goes.

    Args:
        least_s: seconds between two tries in the late window, and the first backoff in the early one.
        log_every_s: seconds between two lines in the log.
    """

    __slots__ = ("_failed_at", "_failures", "_least_s", "_log_every_s", "_logged_at")

    def __init__(self, *, least_s: float = 1.0, log_every_s: float = 60.0) -> None:
        self._least_s = least_s
        self._log_every_s = log_every_s
        self._failures = 0
        self._failed_at = -math.inf
        self._logged_at = -math.inf

    @property
    def failures(self) -> int:
        """Tries that failed since the last that did not."""
        return self._failures

    def may_try(self, now: float, *, late: bool) -> bool:
        """Whether a token may be fetched now."""
        if not self._failures:
            return True
        backoff = self._least_s if late else min(_LONGEST_BACKOFF_S, self._least_s * 2.0 ** min(self._failures - 1, 16))
        return now >= self._failed_at + backoff

    def failed(self, now: float) -> bool:
        """Note a failure; say whether it is to be logged."""
        self._failures += 1
        self._failed_at = now
        if now < self._logged_at + self._log_every_s:
            return False
        self._logged_at = now
        return True

    def succeeded(self) -> None:
        """Note a new token."""
        self._failures = 0

    def __repr__(self) -> str:
        return f"<Refreshing {self._failures} failures>"
