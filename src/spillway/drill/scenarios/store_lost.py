"""The store is killed and comes back empty: exact limits close at once, nothing hangs, nothing bursts afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from spillway.core.clock import sleep
from spillway.drill.found import Found, Promise
from spillway.drill.measuring import worst_window
from spillway.drill.nodes import GatewayNode
from spillway.drill.plan import LOSE_STORE, Fault, plan
from spillway.drill.scenarios.operator import NEVER_S, everybody_says
from spillway.drill.scenarios.reading import answered_once, merged, timed, window_curve
from spillway.drill.scenarios.scenario import Scenario
from spillway.drill.sizes import Size
from spillway.drill.stage import Setting, Stage, gateways, load_on, slots

CLOSES_WITHIN_S = 0.25
AT_ONCE = 16
QUEUE_S = 2.0
"""How long a request may wait in a gateway."""

DEMAND = 0.7
"""Of the limit: requests are on their way at any time, so that it is seen when they end."""

RECOVERS_WITHIN_S = 1.0
"""After the time for which a store that has forgotten everything lets nobody through."""

_SLACK_S = 1.0
_NEAR_S = 0.05
_FIRST_WITHIN_S = 10.0
_LEAST_S = 3.0

_OPTIONS = """\
[deployment.rate_limits]
requests_per_minute = {limit}
strict = true
[deployment.serving]
queue_timeout_s = {queue_s}
max_concurrent = {slots}
"""


def _plan(seed: int, size: Size) -> tuple[Fault, ...]:
    longest_s = max(_LEAST_S, size.window_s / 2)
    return plan(
        "store-lost", seed, (LOSE_STORE,), nodes=size.nodes, faults=1, span_s=2 * longest_s, longest_s=longest_s
    )


async def _told_closed(stage: Stage[GatewayNode], after_s: float) -> float:
    """Return when all nodes have told that they let nobody through."""
    await sleep(after_s)
    return await everybody_says(stage, "closed", within_s=_LEAST_S)


async def _play(setting: Setting, faults: Sequence[Fault]) -> Found:
    size = setting.size
    options = _OPTIONS.format(limit=size.limit, queue_s=QUEUE_S, slots=slots(size))
    async with gateways(setting, "store-lost", options) as stage:
        load = load_on(stage)
        every_s = AT_ONCE * size.nodes * size.window_s / (size.limit * DEMAND)
        async with load.asking([node.number for node in stage.nodes], AT_ONCE, every_s=every_s):
            await load.answered(size.closed_s + _FIRST_WITHIN_S)
            await sleep(size.window_s)
            async with asyncio.TaskGroup() as tasks:
                looking = tasks.create_task(_told_closed(stage, faults[0].at_s))
                tasks.create_task(stage.suffer(faults))
            back_s = stage.now()
            load.hurry()
            await stage.until(back_s + size.closed_s + size.window_s + RECOVERS_WITHIN_S)
        arrivals = await stage.arrivals()
        span_s = stage.now()
        lost_s = next(event.from_s for event in stage.events if event.kind == LOSE_STORE)
        times = merged(arrivals)
        last_s = max((time_s for time_s in times if time_s < back_s), default=0.0)
        first_s = min((time_s for time_s in times if time_s >= back_s), default=float("inf"))
        closed_s = max(0.0, last_s - lost_s)
        said_s = looking.result() - lost_s
        open_s = first_s - back_s
        longest_s = max((answer.took_s for answer in load.answers), default=0.0)
        worst = worst_window(times, size.window_s)
        return Found(
            name="store-lost",
            says=STORE_LOST.says,
            faults=faults,
            promises=(
                Promise(
                    name="every node says that the store is lost",
                    promised=f"within {CLOSES_WITHIN_S * 1000:.0f} ms",
                    measured=f"after {said_s * 1000:.0f} ms" if said_s < NEVER_S else "never",
                    holds=said_s <= CLOSES_WITHIN_S,
                ),
                Promise(
                    name="last request, from what was leased before",
                    promised=f"within {size.lease_s * 1000:.0f} ms of the loss",
                    measured=f"after {closed_s * 1000:.0f} ms",
                    holds=last_s > 0 and closed_s <= size.lease_s + _NEAR_S,
                ),
                Promise(
                    name="longest wait of a client",
                    promised=f"at most {QUEUE_S + _SLACK_S:g} s",
                    measured=f"{longest_s:.2f} s",
                    holds=longest_s <= QUEUE_S + _SLACK_S,
                ),
                Promise(
                    name="closed until what was forgotten has left the window",
                    promised=f"{size.window_s:g} s to {size.closed_s + RECOVERS_WITHIN_S:g} s",
                    measured=f"{open_s:.2f} s",
                    holds=size.window_s - _NEAR_S <= open_s <= size.closed_s + RECOVERS_WITHIN_S,
                ),
                Promise(
                    name="requests in the worst sliding window",
                    promised=f"at most {size.limit}",
                    measured=f"{worst.count}, at {worst.at_s:.2f} s",
                    holds=worst.count <= size.limit,
                ),
                answered_once(load, also=("rate_limited", "backpressure")),
            ),
            remarks={
                "refused while it was lost": f"{sum(bool(answer.code) for answer in load.answers)}",
                **timed(load),
                **stage.stalls(),
            },
            events=tuple(stage.events),
            curves=(window_curve(times, size, span_s, bound=size.limit),),
            arrivals=arrivals,
            span_s=span_s,
        )


STORE_LOST = Scenario(
    name="store-lost",
    says="The store is killed under load and comes back with nothing in it.",
    plan=_plan,
    play=_play,
)
