"""What the demonstration shows: progress while it runs, then the two clients side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from spillway.core.clock import Clock
    from spillway.demo.outcome import Outcome, Verdict
    from spillway.remote.circuit_breaker import BreakerEvent
    from spillway.runtime.metrics import DeploymentMetrics

_LINE_EVERY_S = 2.0
_PLAIN_WIDTH = 110
_WORDS = {"CLOSED": "ok", "OPEN": "open", "HALF_OPEN": "probe"}
_STYLES = {"ok": "green", "open": "red", "probe": "yellow"}


class Bars:
    """Live progress on a terminal, a line now and then elsewhere; always on stderr.

    Args:
        total: prompts of each client.
        clock: seconds.
    """

    def __init__(self, total: int, clock: Clock) -> None:
        self._total = total
        self._clock = clock
        self._console = Console(stderr=True, highlight=False)
        self._live = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._rows = {
            name: self._live.add_task(name, total=total, start=False, note="") for name in ("naive", "spillway")
        }
        self._said_at = clock()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def begin(self, name: str) -> None:
        """Start the clock of one client."""
        self._live.start_task(self._rows[name])
        self._say(name, 0, "")

    def update(self, name: str, outcome: Outcome) -> None:
        """Show how far one client is."""
        done = len(outcome.answers) + len(outcome.failed)
        note = f"{len(outcome.failed)} given up" if outcome.failed else ""
        self._live.update(self._rows[name], completed=done, note=note)
        if self._clock() - self._said_at >= _LINE_EVERY_S or done == self._total:
            self._say(name, done, note)

    def end(self, name: str) -> None:
        """Stop the clock of one client."""
        self._live.stop_task(self._rows[name])

    def _say(self, name: str, done: int, note: str) -> None:
        self._said_at = self._clock()
        if not self._console.is_terminal:
            sys.stderr.write(f"{name:<9} {done:3} of {self._total} {note}".rstrip() + "\n")
            sys.stderr.flush()


def console() -> Console:
    """Return the console of the results: stdout, as wide as it is, or wide enough where it has no width."""
    found = Console(highlight=False)
    if not found.is_terminal:
        found.width = _PLAIN_WIDTH
    return found


def compare(naive: tuple[Outcome, Verdict], ours: tuple[Outcome, Verdict], *, budget_usd: float) -> Table:
    """Return the two clients side by side."""
    table = Table(
        box=box.SIMPLE_HEAD, title="The same 300 prompts, the same misbehaving providers", title_justify="left"
    )
    table.add_column("")
    table.add_column("naive loop", justify="right")
    table.add_column("spillway", justify="right")

    def row(label: str, left: object, right: object, *, good: object = None) -> None:
        cells = [
            Text(str(v), style="" if good is None else "green" if str(v) == str(good) else "red") for v in (left, right)
        ]
        table.add_row(label, *cells)

    row("answered once", naive[1].once, ours[1].once, good=300)
    row("cut answers taken as done", naive[1].cut, ours[1].cut, good=0)
    row("never answered", naive[1].missing, ours[1].missing, good=0)
    row("answered twice", naive[1].twice, ours[1].twice, good=0)
    row("calls over a provider's limit", naive[0].over_limit, ours[0].over_limit, good=0)
    row(
        f"spent over the budget of ${budget_usd:g}",
        *(_over(o[0].billed_usd, budget_usd) for o in (naive, ours)),
        good="$0",
    )
    row("provider calls", naive[0].calls, ours[0].calls)
    row("billed by the providers", f"${naive[0].billed_usd:.4f}", f"${ours[0].billed_usd:.4f}")
    row("seconds", f"{naive[0].seconds:.1f}", f"{ours[0].seconds:.1f}")
    return table


def per_deployment(metrics: dict[str, DeploymentMetrics]) -> Table:
    """Return what each deployment did."""
    table = Table(box=box.SIMPLE_HEAD, title="Spillway by deployment", title_justify="left", pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("ok", "retried", "fell back", "failed", "p50", "p95", "p99", "TTFT p50", "tokens", "cost"):
        table.add_column(heading, justify="right")
    for name, m in metrics.items():
        table.add_row(
            name,
            str(m.succeeded),
            str(m.retried),
            str(m.fell_back),
            str(m.failed),
            _ms(m.latency_p50_s),
            _ms(m.latency_p95_s),
            _ms(m.latency_p99_s),
            _ms(m.first_content_p50_s),
            str(m.input_tokens + m.output_tokens),
            "unknown" if m.cost_usd is None else f"${m.cost_usd:.4f}",
        )
    return table


def breaker_line(name: str, began: float, events: Sequence[BreakerEvent], ended: float) -> Text:
    """Return one breaker's states over time, each with the seconds it lasted."""
    line = Text(f"  {name:<18}")
    for index, (word, since, until) in enumerate(spans(began, events, ended)):
        if index:
            line.append(" ─ ", style="dim")
        line.append(word, style=_STYLES[word])
        line.append(f" {until - since:.1f}s", style="dim")
    return line


def spans(began: float, events: Iterable[BreakerEvent], ended: float) -> list[tuple[str, float, float]]:
    """Return a breaker's states in words, each with the instants it lasted from and to."""
    found: list[tuple[str, float, float]] = []
    word, since = "ok", began
    for event in events:
        found.append((word, since, event.at))
        word, since = _WORDS[event.state.name], event.at
    return [*found, (word, since, ended)]


def _over(billed_usd: float, budget_usd: float) -> str:
    over = billed_usd - budget_usd
    return "$0" if over <= 0 else f"${over:.4f}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
