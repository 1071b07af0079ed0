"""What the engines of a Cluster have counted and hold, read at a scrape: nothing is done for it while requests run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from spillway.core.limit_store import LIMITER_MODES
from spillway.remote.circuit_breaker import CircuitState
from spillway.remote.cost import BUDGET_MODES, pico_to_usd
from spillway.telemetry.catalog import ENGINES, METRICS
from spillway.telemetry.readings import Distribution, Labels, Reading, distribution, grouped

if TYPE_CHECKING:
    from spillway.core.limit_store import LimitsSnapshot
    from spillway.core.reply import Usage
    from spillway.remote.cost import CostLedger
    from spillway.remote.engine import Engine, EngineMetrics
    from spillway.telemetry.catalog import Metric

Row = tuple["Metric", Labels, "float | Distribution"]

_DIMENSIONS = ("requests", "tokens", "input_tokens", "output_tokens")


def tokens_by_kind(usage: Usage | EngineMetrics) -> Iterable[tuple[str, int]]:
    """Return the tokens of each kind: cached ones and cache writes are part of the input, reasoning of the output."""
    return (
        ("input", usage.input_tokens),
        ("output", usage.output_tokens),
        ("cached", usage.cached_tokens),
        ("cache_write", usage.cache_write_tokens),
        ("reasoning", usage.reasoning_tokens),
    )


def read_engines(engines: Mapping[str, Sequence[Engine]]) -> list[Reading]:
    """Return the readings of all deployments.

    Args:
        engines: by deployment, one for each entry of its key pool.

    It reads what belongs to the engines' loop, and is called there.
    """
    rows: dict[str, list[Row]] = {}
    for name, entries in engines.items():
        rows[name] = [*_counted(name, entries), *_now(name, entries), *_money(name, entries[0].gates.ledger)]
        for position, engine in enumerate(entries, 1):
            rows[name] += [*_breaker(name, str(position), engine), *_limits(name, str(position), engine)]
    read = {one.metric.name: one for one in grouped(row for each in rows.values() for row in each)}
    return [read.get(metric.name) or Reading(metric, []) for metric in ENGINES]


def _counted(name: str, entries: Sequence[Engine]) -> Iterator[Row]:
    m = entries[0].metrics
    ended = {"ok": m.succeeded, "failed": m.failed, "cancelled": m.cancelled}
    for outcome, count in ended.items():
        yield _row("deployment_requests_total", (name, outcome), count)
    errors = dict(m.errors)
    sent = {"ok": m.latency.count, "cancelled": m.attempts - m.latency.count - sum(errors.values()), **errors}
    for outcome, count in sent.items():
        yield _row("attempts_total", (name, outcome), count)
    yield _row("deployment_refusals_total", (name,), m.refused)
    yield _row("retries_total", (name,), m.retried)
    yield _row("fallbacks_total", (name,), m.fell_back)
    for metric, histogram in (
        ("attempt_duration_seconds", m.latency),
        ("attempt_first_content_seconds", m.first_content),
        ("output_gap_seconds", m.gaps),
        ("queue_wait_seconds", m.queue_wait),
    ):
        yield _row(metric, (name,), distribution(METRICS[f"spillway_{metric}"], histogram))
    for kind, tokens in tokens_by_kind(m):
        yield _row("tokens_total", (name, kind), tokens)
    yield _row("cost_usd_total", (name,), pico_to_usd(m.cost_pico))


def _now(name: str, entries: Sequence[Engine]) -> Iterator[Row]:
    yield _row("queue_depth", (name,), sum(len(each.queue) for each in entries))
    yield _row("queue_capacity", (name,), sum(each.queue.capacity for each in entries))
    slots = [slot for each in entries for slot in each.slots()]
    yield _row("workers", (name,), sum(not slot.retired for slot in slots))
    yield _row("workers_busy", (name,), sum(slot.busy for slot in slots))
    yield _row("deployment_healthy", (name,), any(each.healthy() for each in entries))
    held = entries[0].gates.limiter.mode()
    for mode in LIMITER_MODES:
        yield _row("limiter_mode", (name, mode), held == mode)


def _money(name: str, ledger: CostLedger | None) -> Iterator[Row]:
    if ledger is None:
        return
    seen = ledger.snapshot()
    yield _row("budget_reserved_usd", (name,), pico_to_usd(seen.reserved_pico))
    yield _row("budget_elsewhere_usd", (name,), pico_to_usd(seen.elsewhere_pico))
    yield from budget_rows("budget", name, ledger)


def budget_rows(prefix: str, name: str, ledger: CostLedger) -> Iterator[Row]:
    """Return cap, spending and rest of each window of a ledger, as `{prefix}_usd` and its like, and how it is held."""
    seen = ledger.snapshot()
    for window in seen.windows:
        labels = (name, window.name)
        left = max(0, window.cap_pico - window.committed_pico - seen.reserved_pico - seen.elsewhere_pico)
        yield _row(f"{prefix}_usd", labels, pico_to_usd(window.cap_pico))
        yield _row(f"{prefix}_spent_usd", labels, pico_to_usd(window.committed_pico))
        yield _row(f"{prefix}_left_usd", labels, pico_to_usd(left))
    for mode in BUDGET_MODES if seen.windows else ():
        yield _row(f"{prefix}_mode", (name, mode), seen.mode == mode)


def _breaker(name: str, entry: str, engine: Engine) -> Iterator[Row]:
    seen = engine.gates.breaker.snapshot()
    yield _row("breaker_shared", (name, entry), bool(seen.shared))
    for state in CircuitState:
        labels = (name, entry, state.name.lower())
        yield _row("breaker_state", labels, seen.state is state)
        yield _row("breaker_transitions_total", labels, seen.transitions[state])


def _limits(name: str, entry: str, engine: Engine) -> Iterator[Row]:
    seen = engine.gates.limiter.snapshot()
    yield _row("limit_blocked_seconds", (name, entry), seen.blocked_for_s)
    yield _row("limiter_nodes", (name, entry), seen.nodes)
    yield _row("limiter_rejected_total", (name, entry), seen.rejected)
    for limit, most, ceiling, used in limits_in(seen):
        labels = (name, entry, limit)
        yield _row("limit", labels, most)
        yield _row("limit_ceiling", labels, ceiling)
        yield _row("limit_used", labels, used)


def limits_in(seen: LimitsSnapshot) -> Iterator[tuple[str, int, int, int]]:
    """Return name, configured amount, present ceiling and what is taken, of each limit that applies."""
    for limit in _DIMENSIONS:
        one = getattr(seen, limit)
        if one is not None:
            yield limit, one.limit, one.ceiling, one.used + one.unsent
    if seen.concurrent_limit is not None:
        yield "concurrency", seen.concurrent_limit, seen.concurrent_limit, seen.in_flight


def _row(metric: str, labels: Labels, value: float | Distribution) -> Row:
    return METRICS[f"spillway_{metric}"], labels, value
