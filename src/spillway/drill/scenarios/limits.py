"""One limit for all nodes: exact, or kept together by telling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from spillway.drill.found import Found, Promise
from spillway.drill.load import Load
from spillway.drill.measuring import use, worst_window
from spillway.drill.nodes import GatewayNode
from spillway.drill.plan import BLACK_HOLE, CUT, DELAY, KILL, LOSE_STORE, PAUSE, Fault, plan
from spillway.drill.scenarios.reading import answered_once, merged, timed, window_curve
from spillway.drill.scenarios.scenario import Scenario
from spillway.drill.sizes import Size
from spillway.drill.stage import LATENCY_S, Setting, Stage, gateways, load_on
from spillway.remote.rate_limit.dimension import SUB_SLOTS
from spillway.stores.shared.limits import REPORT_S

AT_ONCE = 24
"""Clients of each node: more than the limit serves, so that all of it is wanted."""

LEAST_USE = 0.97
"""Of the limit, over a minute. A shorter window loses more to the time between two reports."""

_SETTLING_S = 1.0

_OPTIONS = """\
[deployment.rate_limits]
requests_per_minute = {limit}
strict = {strict}
[deployment.serving]
max_concurrent = {slots}
"""

_PEAK = 2.4
"""How many times faster than on average requests may come: the provider has to keep up, or it would see them late."""


def _plan(name: str, kinds: Sequence[str], seed: int, size: Size) -> tuple[Fault, ...]:
    return plan(name, seed, kinds, nodes=size.nodes, faults=size.faults, span_s=size.faults_s, longest_s=size.pause_s)


async def _play(name: str, says: str, setting: Setting, faults: Sequence[Fault], *, strict: bool) -> Found:
    size = setting.size
    options = _OPTIONS.format(limit=size.limit, strict=str(strict).lower(), slots=_slots(size))
    async with gateways(setting, name, options) as stage:
        load = load_on(stage)
        steady_s = await _drive(stage, load, faults)
        arrivals = await stage.arrivals()
        span_s = stage.now()
        times = merged(arrivals)
        bound = size.limit if strict else told_bound(size, faults)
        worst = worst_window(times, size.window_s)
        least = least_use(size.window_s)
        used = use(times, size.limit, size.window_s, from_s=steady_s, windows=size.steady_windows)
        promises = (
            Promise(
                name="requests in the worst sliding window",
                promised=f"at most {bound} (limit {size.limit})",
                measured=f"{worst.count}, at {worst.at_s:.2f} s",
                holds=worst.count <= bound,
            ),
            Promise(
                name="use of the limit while nothing is wrong",
                promised=f"at least {least:.1%}",
                measured=f"{used:.1%}",
                holds=used >= least,
            ),
            answered_once(load),
        )
        return Found(
            name=name,
            says=says,
            faults=faults,
            promises=promises,
            remarks={
                "requests at the provider": f"{len(times)}",
                "use of the limit while things go wrong": f"{_use_in_faults(stage, times, steady_s):.1%}",
                **timed(load),
                **stage.stalls(),
            },
            events=tuple(stage.events),
            curves=(window_curve(times, size, span_s, bound=bound),),
            arrivals=arrivals,
            span_s=span_s,
        )


async def _drive(stage: Stage[GatewayNode], load: Load, faults: Sequence[Fault]) -> float:
    """Ask through a time without faults and one with them; return when the first began."""
    size = stage.size
    load.begin([node.number for node in stage.nodes], AT_ONCE)
    try:
        steady_s = size.window_s + _SETTLING_S
        stage.say(f"asking for more than the limit of {size.limit} in {size.window_s:g} s allows")
        await stage.until(steady_s)
        await stage.until(steady_s + size.steady_windows * size.window_s)
        await stage.suffer(faults)
        await stage.until(stage.now() + size.window_s / 2)
    finally:
        await load.end()
    return steady_s


def _use_in_faults(stage: Stage[GatewayNode], times: Sequence[float], steady_s: float) -> float:
    size = stage.size
    from_s = steady_s + size.steady_windows * size.window_s
    windows = max(1, int((stage.now() - from_s) / size.window_s))
    return use(times, size.limit, size.window_s, from_s=from_s, windows=windows)


def _slots(size: Size) -> int:
    """Return how many requests a node sends at once."""
    return math.ceil(_PEAK * size.limit / size.window_s * LATENCY_S / size.nodes)


def least_use(window_s: float) -> float:
    """Return the share of a limit that is used at least, when more is wanted.

    What was sent counts from the report on, and for whole sub-slots; the window is that much longer.
    """
    return min(LEAST_USE, 1 - (REPORT_S + 3 * window_s / SUB_SLOTS) / window_s)


def told_bound(size: Size, faults: Sequence[Fault]) -> int:
    """Return what a limit that nodes keep together by telling promises: `L + (N-1) * A * ceil(D / S)`.

    What is told is read by the others at their next sync, so D is two syncs where the store answers in time. A node
    that hears nothing falls back to its share of the limit, of which the others know nothing.
    """
    allowance = math.ceil(size.limit * size.sync_s / size.window_s)
    alone = any(fault.kind in {CUT, BLACK_HOLE, PAUSE, KILL} for fault in faults)
    share = size.limit // size.nodes if alone else 0
    return size.limit + (size.nodes - 1) * allowance * 2 + share


_STRICT = "Clients want more than an exact limit allows, while nodes and the store fail."
_APPROXIMATE = "Clients want more than a limit allows that nodes keep together by telling, while nodes and links fail."

STRICT = Scenario(
    name="strict",
    says=_STRICT,
    plan=partial(_plan, "strict", (KILL, PAUSE, BLACK_HOLE, LOSE_STORE, CUT, DELAY)),
    play=partial(_play, "strict", _STRICT, strict=True),
)
APPROXIMATE = Scenario(
    name="approximate",
    says=_APPROXIMATE,
    plan=partial(_plan, "approximate", (KILL, PAUSE, BLACK_HOLE, CUT)),
    play=partial(_play, "approximate", _APPROXIMATE, strict=False),
)
