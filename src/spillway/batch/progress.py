"""How a run is getting on, in one line: on a terminal it stays in place, elsewhere it is repeated now and then."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TextIO

import msgspec

from spillway.batch.verdict import STORE_LOST
from spillway.core.clock import Clock, sleep
from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spillway.batch.run import Run

_TERMINAL_S = 0.25
_PLAIN_S = 5.0
_FIRST_PLAIN_S = 2.0
_WINDOW_S = 20.0

_WORDS = {
    "circuit_open": "circuit open",
    "rate_limited": "at the provider's limit",
    "backpressure": "no room",
    "budget_exceeded": "its budget is spent",
    STORE_LOST: "the store that shares its limits and budgets does not answer",
    "quota_exhausted": "the provider's quota is exhausted",
    "unauthorized_upstream": "the provider refuses the key",
    "forbidden_upstream": "the provider forbids it",
    "model_not_found": "the provider knows no such model",
    "server_error": "the provider fails",
    "network_error": "the provider can't be reached",
    "timeout": "the provider does not answer",
}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands at an instant.

    Attributes:
        per_s: lines written a second, over the last 20 s.
        eta_s: seconds to the end at that rate, None when nothing moves.
        waits: what holds lines up, a sentence each.

    Invariants: `ok + failed + pending == total`; rates and `eta_s` are never negative.
    """

    total: int
    ok: int
    failed: int
    pending: int
    under_way: int
    retried: int
    per_s: float
    tokens_per_s: float
    cost_usd: float
    eta_s: float | None
    waits: tuple[str, ...]

    def __str__(self) -> str:
        done = self.ok + self.failed
        share = done / self.total if self.total else 1.0
        parts = [f"{done:,} of {self.total:,} ({share:.0%})"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.retried:
            parts.append(f"{self.retried:,} retried")
        parts += [f"{self.per_s:,.1f}/s", f"{self.tokens_per_s:,.0f} tokens/s", f"${self.cost_usd:,.4f}"]
        if self.eta_s is not None and self.pending:
            parts.append(f"{duration(self.eta_s)} left")
        return " · ".join((*parts, *self.waits))


class Progress:
    """Takes snapshots of a run.

    Args:
        clock: the run's.
    """

    def __init__(self, run: Run, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._seen: deque[tuple[float, int, int]] = deque()

    def snapshot(self) -> Snapshot:
        """Return how the run stands."""
        run, now = self._run, self._clock()
        ok = run.outcomes["ok"]
        done = run.outcomes.total()
        total = max(run.total, done)
        tokens = run.board.input_tokens + run.board.output_tokens
        self._seen.append((now, done, tokens))
        while len(self._seen) > 2 and now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        since, then, then_tokens = self._seen[0]
        span = max(now - since, 1e-9)
        per_s = (done - then) / span
        pending = total - done
        return Snapshot(
            total=total,
            ok=ok,
            failed=done - ok,
            pending=pending,
            under_way=run.crew.active,
            retried=run.board.retried,
            per_s=per_s,
            tokens_per_s=(tokens - then_tokens) / span,
            cost_usd=pico_to_usd(run.budget.paid_pico),
            eta_s=pending / per_s if per_s > 0 else None,
            waits=tuple(self._waits()),
        )

    def _waits(self) -> list[str]:
        waits = []
        for lane in self._run.crew.lanes.values():
            reason = lane.pace.reason
            shut = self._shut(lane.target.members)
            if shut:
                waits.append(f"{lane.target.name}: {shut}")
            if shut or reason is None:
                continue
            breakers = [self._run.cluster.deployment(name).circuit_breaker() for name in lane.target.members]
            wait = min(breaker.retry_after() for breaker in breakers)
            if wait <= 0:
                wait = max(lane.pace.closed_until - self._clock(), 0.0)
            waits.append(f"{lane.target.name}: {_WORDS.get(reason, reason)}, next probe in {wait:.0f} s")
        return waits

    def _shut(self, members: Sequence[str]) -> str:
        """Return why no member's limits let anything through although they are not full; empty: that is not so."""
        shut = [self._run.cluster.deployment(name).trouble() for name in members]
        return shut[0] if all(shut) else ""


async def show(progress: Progress, stream: TextIO) -> None:
    """Show snapshots on `stream` until cancelled."""
    if stream.isatty():
        await _show_in_place(progress, stream)
    else:
        await _show_lines(progress, stream)


async def _show_lines(progress: Progress, stream: TextIO) -> None:
    progress.snapshot()
    await sleep(_FIRST_PLAIN_S)
    while True:
        stream.write(f"{progress.snapshot()}\n")
        stream.flush()
        await sleep(_PLAIN_S)


async def _show_in_place(progress: Progress, stream: TextIO) -> None:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.live import Live  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    with Live(console=Console(file=stream), auto_refresh=False, transient=True) as live:
        while True:
            live.update(Text(str(progress.snapshot()), overflow="ellipsis", no_wrap=True), refresh=True)
            await sleep(_TERMINAL_S)


def duration(seconds: float) -> str:
    """Return seconds as `1:23:45` or `2:05`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
