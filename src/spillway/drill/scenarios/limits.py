"""One limit for all nodes: exact, or kept together by telling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from spillway.drill.found import Found, Promise
from spillway.drill.load import Load
from spillway.drill.measuring import use, worst_window
from spillway.drill.nodes import GatewayNode
from spillway.drill.plan import BLACK_HOLE, CUT, DELAY, KILL, LOSE_STORE, PAUSE, Dice, Fault, plan
from spillway.drill.scenarios.reading import answered_once, merged, timed, window_curve
from spillway.drill.scenarios.scenario import Scenario
from spillway.drill.sizes import Size
from spillway.drill.stage import Setting, Stage, gateways, load_on, slots

AT_ONCE = 24
"""Clients of each node: more than the limit serves, so that all of it is wanted."""

LEAST_USE = 0.97
"""Of the limit, when more is wanted."""

_ROUNDS = 2
SLACK_S = 10.0
"""How much longer than that the first answer may take."""

_OPTIONS = """\
[deployment.rate_limits]
requests_per_minute = {limit}
strict = {strict}
[deployment.serving]
max_concurrent = {slots}
"""


def _plan(name: str, kinds: Sequence[str], seed: int, size: Size) -> tuple[Fault, ...]:
    return plan(name, seed, kinds, nodes=size.nodes, faults=size.faults, span_s=size.faults_s, longest_s=size.pause_s)


def _strict_plan(seed: int, size: Size) -> tuple[Fault, ...]:
    """Return what goes wrong with nodes and links, and last the loss of the store, which closes the limit for long."""
    lost_s = Dice(seed, "strict store").between(0.5, 1.0) * size.pause_s
    lost = Fault(at_s=size.faults_s, kind=LOSE_STORE, node=0, for_s=round(lost_s, 3))
    return (*_plan("strict", (KILL, PAUSE, BLACK_HOLE, CUT, DELAY), seed, size), lost)


async def _play(name: str, says: str, setting: Setting, faults: Sequence[Fault], *, strict: bool) -> Found:
    size = setting.size
    options = _OPTIONS.format(limit=size.limit, strict=str(strict).lower(), slots=slots(size))
    async with gateways(setting, name, options) as stage:
        load = load_on(stage)
        steady_s = await _drive(stage, load, faults)
        arrivals = await stage.arrivals()
        span_s = stage.now()
        times = merged(arrivals)
        bound = size.limit if strict else told_bound(size, faults)
        worst = worst_window(times, size.window_s)
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
                promised=f"at least {LEAST_USE:.0%}",
                measured=f"{used:.1%}",
                holds=used >= LEAST_USE,
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
    async with load.asking([node.number for node in stage.nodes], AT_ONCE):
        stage.say(f"asking for more than the limit of {size.limit} in {size.window_s:g} s allows")
        steady_s = await load.answered(size.closed_s + SLACK_S) + size.window_s
        await stage.until(steady_s + size.steady_windows * size.window_s)
        await stage.suffer(faults)
        # What comes after a loss of the store is a window, too.
        closed_s = size.closed_s if any(fault.kind == LOSE_STORE for fault in faults) else 0.0
        await stage.until(stage.now() + closed_s + size.window_s / 2)
    return steady_s


def _use_in_faults(stage: Stage[GatewayNode], times: Sequence[float], steady_s: float) -> float:
    size = stage.size
    from_s = steady_s + size.steady_windows * size.window_s
    windows = max(1, int((stage.now() - from_s) / size.window_s))
    return use(times, size.limit, size.window_s, from_s=from_s, windows=windows)


def told_bound(size: Size, faults: Sequence[Fault]) -> int:
    """Return what a limit that nodes keep together by telling promises: `L + (N-1) * A * ceil(D / S)`.

    News wait up to one sync to be told and up to one to be heard: D is two of them. A node that is killed and starts
    again is another one.
    """
    allowance = math.ceil(size.limit * size.sync_s / size.window_s)
    nodes = size.nodes + sum(fault.kind == KILL for fault in faults)
    return size.limit + (nodes - 1) * allowance * _ROUNDS


_STRICT = "Clients want more than an exact limit allows, while nodes and the store fail."
_APPROXIMATE = "Clients want more than a limit allows that nodes keep together by telling, while nodes and links fail."

STRICT = Scenario(
    name="strict",
    says=_STRICT,
    plan=_strict_plan,
    play=partial(_play, "strict", _STRICT, strict=True),
)
APPROXIMATE = Scenario(
    name="approximate",
    says=_APPROXIMATE,
    plan=partial(_plan, "approximate", (KILL, PAUSE, BLACK_HOLE, CUT)),
    play=partial(_play, "approximate", _APPROXIMATE, strict=False),
)
