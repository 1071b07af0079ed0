"""The provider's side of rate limits: an exact log of arrivals in a sliding window, one judge for each key.

Providers publish limits a minute and enforce them over shorter windows too. A judge of window W admits, in every
half-open window (t-W, t], at most RPM * W / 60 requests (at least one) and TPM * W / 60 tokens. A request costs its
input and output tokens at its arrival, which the simulator knows because answers are deterministic. Refused requests
cost nothing.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

MINUTE_S = 60.0


class LimitError(ValueError):
    """A limit that can't be read; the message is one line for the user."""


class LimitSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one key; `key` is `*` for every key without a spec of its own, each counted by itself."""

    key: str = "*"
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    window_s: float = MINUTE_S


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge says about one arrival, and what it leaves; None means unlimited.

    `limited_by` is `requests` or `tokens` on a refusal. `fits_never` marks a request larger than its whole allowance.
    Limits are those per minute; remaining and reset are those of the window, reset being when it is empty again.
    """

    allowed: bool
    limited_by: str = ""
    fits_never: bool = False
    retry_after_s: float = 0.0
    limit_requests: int | None = None
    limit_tokens: int | None = None
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    reset_requests_s: float = 0.0
    reset_tokens_s: float = 0.0
    requested_tokens: int = 0


class WindowJudge:
    """Judges arrivals against requests and tokens a minute over sliding windows.

    Time is an argument and must not go backwards. In windows under a minute a request larger than the whole allowance
    is admitted when the window holds no tokens, since its share of a minute may still be free; over a minute it never
    fits.

    Args:
        limit_rpm: Requests a minute, None for unlimited.
        limit_tpm: Tokens a minute, None for unlimited.
        window_s: The window they are judged over.

    Complexity: amortised O(1) an arrival, O(arrivals in the window) a refusal for tokens.
    """

    def __init__(self, limit_rpm: float | None, limit_tpm: float | None, window_s: float = MINUTE_S) -> None:
        if not (math.isfinite(window_s) and window_s > 0):
            raise LimitError("a limit's window must be a positive number of seconds")
        self.window_s = window_s
        self._rpm = limit_rpm
        self._tpm = limit_tpm
        share = window_s / MINUTE_S
        self._room = None if limit_rpm is None else max(1, math.floor(limit_rpm * share + 1e-9))
        self._token_room = None if limit_tpm is None else max(1, math.floor(limit_tpm * share + 1e-9))
        self._log: deque[tuple[float, int]] = deque()
        self._tokens = 0

    def __repr__(self) -> str:
        return f"<WindowJudge {len(self._log)}/{self._room} requests {self._tokens}/{self._token_room} tokens>"

    def arrive(self, now: float, tokens: int) -> Verdict:
        """Judge a request of `tokens` that arrives at `now`, and count it if it is admitted."""
        self._expire(now)
        log, room, token_room = self._log, self._room, self._token_room
        if room is not None and len(log) >= room:
            return self._refuse(now, tokens, "requests", self._until(now, len(log) - room))
        if token_room is not None and self._tokens + tokens > token_room:
            oversized = tokens > token_room
            if oversized and self.window_s >= MINUTE_S:
                return self._refuse(now, tokens, "tokens", self.window_s, fits_never=True)
            if not (oversized and self._tokens == 0):
                return self._refuse(
                    now, tokens, "tokens", self._until_tokens(now, 0 if oversized else token_room - tokens)
                )
        log.append((now + self.window_s, tokens))
        self._tokens += tokens
        return self._verdict(now, tokens, allowed=True)

    def _expire(self, now: float) -> None:
        log = self._log
        while log and log[0][0] <= now:
            self._tokens -= log.popleft()[1]

    def _until(self, now: float, index: int) -> float:
        return self._log[index][0] - now

    def _until_tokens(self, now: float, most: int) -> float:
        left = self._tokens
        for expires, spent in self._log:
            left -= spent
            if left <= most:
                return expires - now
        return self.window_s

    def _refuse(
        self, now: float, tokens: int, limited_by: str, retry_after_s: float, *, fits_never: bool = False
    ) -> Verdict:
        verdict = self._verdict(now, tokens, allowed=False)
        return msgspec.structs.replace(
            verdict, limited_by=limited_by, retry_after_s=retry_after_s, fits_never=fits_never
        )

    def _verdict(self, now: float, tokens: int, *, allowed: bool) -> Verdict:
        reset = self._log[-1][0] - now if self._log else 0.0
        return Verdict(
            allowed=allowed,
            limit_requests=None if self._rpm is None else math.ceil(self._rpm),
            limit_tokens=None if self._tpm is None else math.ceil(self._tpm),
            remaining_requests=None if self._room is None else self._room - len(self._log),
            remaining_tokens=None if self._token_room is None else max(0, self._token_room - self._tokens),
            reset_requests_s=reset,
            reset_tokens_s=reset,
            requested_tokens=tokens,
        )


class Limits:
    """The judges of all keys, made on a key's first arrival."""

    def __init__(self, specs: tuple[LimitSpec, ...]) -> None:
        self._specs = {spec.key: spec for spec in specs}
        self._judges: dict[str, WindowJudge | None] = {}

    def arrive(self, key: str, now: float, tokens: int) -> Verdict | None:
        """Judge an arrival of `key`; None when no limit is set for it."""
        try:
            judge = self._judges[key]
        except KeyError:
            spec = self._specs.get(key) or self._specs.get("*")
            judge = None
            if spec is not None:
                judge = WindowJudge(spec.requests_per_minute, spec.tokens_per_minute, spec.window_s)
            self._judges[key] = judge
        return None if judge is None else judge.arrive(now, tokens)

    def clear(self) -> None:
        """Forget every arrival."""
        self._judges.clear()


def parse_limit(text: str) -> LimitSpec:
    """Read `KEY=RPM,TPM[,WINDOW_S]`; `-` stands for an unlimited RPM or TPM.

    Raises:
        LimitError: The text does not have that form.
    """
    key, equals, numbers = text.rpartition("=")
    parts = [part.strip() for part in numbers.split(",")]
    if not equals or not key or len(parts) not in {2, 3}:
        raise LimitError(f"limit {text!r}: expected KEY=RPM,TPM[,WINDOW_S]")
    window_s = MINUTE_S if len(parts) == 2 else _number(text, "WINDOW_S", parts[2])
    return LimitSpec(
        key=key,
        requests_per_minute=None if parts[0] == "-" else _number(text, "RPM", parts[0]),
        tokens_per_minute=None if parts[1] == "-" else _number(text, "TPM", parts[1]),
        window_s=window_s,
    )


def _number(text: str, name: str, part: str) -> float:
    try:
        value = float(part.replace("_", ""))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise LimitError(f"limit {text!r}: {name} must be a positive number, not {part!r}")
    return value
