"""One budget for all nodes: what the provider bills never passes it, though nodes are killed in the middle."""

from __future__ import annotations

from collections.abc import Sequence

from spillway.drill.found import Curve, Found, Promise
from spillway.drill.measuring import climb
from spillway.drill.plan import KILL, Fault, plan
from spillway.drill.scenarios.reading import answered_once, merged, timed
from spillway.drill.scenarios.scenario import Scenario
from spillway.drill.sizes import Size
from spillway.drill.stage import Setting, gateways, load_on

AT_ONCE = 12
"""Clients of each node."""

SHARE = 0.6
"""Of the requests, about so many are paid by the budget."""

KILLS = 2
KILLS_WITHIN_S = 2.0
_BACK_AFTER_S = 0.5

MAX_TOKENS = 16
_COST_USD = (5 * 0.15 + MAX_TOKENS * 0.6) / 1e6
"""What a request costs, about."""

_POINTS = 240

_OPTIONS = """\
[deployment.rate_limits]
requests_per_minute = {limit}
[deployment.budget]
max_spend_per_hour_usd = {cap:.9f}
"""


def cap_usd(size: Size) -> float:
    """Return the budget."""
    return round(size.asks * SHARE * _COST_USD, 9)


def _plan(seed: int, size: Size) -> tuple[Fault, ...]:
    return plan("budget", seed, (KILL,), nodes=size.nodes, faults=KILLS, span_s=KILLS_WITHIN_S, longest_s=_BACK_AFTER_S)


async def _play(setting: Setting, faults: Sequence[Fault]) -> Found:
    size = setting.size
    cap = cap_usd(size)
    # Under a limit the spend climbs over a few seconds, so that kills fall into the middle of it.
    async with gateways(setting, "budget", _OPTIONS.format(limit=size.limit * 2, cap=cap)) as stage:
        load = load_on(stage, max_tokens=MAX_TOKENS)
        setting.say(f"asking {size.asks} times for about {_COST_USD:.7f} USD under a budget of {cap:.6f} USD")
        async with load.asking([node.number for node in stage.nodes], AT_ONCE, asks=size.asks):
            await stage.suffer(faults)
        told = await stage.provider.told(stage.session)
        arrivals = await stage.arrivals()
        span_s = stage.now()
        over = max(0.0, told.billed_usd - cap)
        paid = sum(answer.status == 200 for answer in load.answers)
        refused = sum(answer.code == "budget_exceeded" for answer in load.answers)
        times = merged(arrivals)
        mean = told.billed_usd / len(times) if times else 0.0
        return Found(
            name="budget",
            says=BUDGET.says,
            faults=faults,
            promises=(
                Promise(
                    name="billed over the budget",
                    promised=f"0 USD over {cap:.6f} USD",
                    measured=f"{over:.6f} USD over ({told.billed_usd:.6f} USD billed)",
                    holds=over == 0.0,
                ),
                Promise(
                    name="refused once it is spent",
                    promised="some, and none before",
                    measured=f"{refused} refused after {paid} answers",
                    holds=refused > 0 and paid > 0,
                ),
                answered_once(load, also=("budget_exceeded",)),
            ),
            remarks={"spent of the budget": f"{told.billed_usd / cap:.1%}", **timed(load), **stage.stalls()},
            events=tuple(stage.events),
            curves=(
                Curve(
                    title="Billed by the provider, about",
                    unit="micro-USD",
                    points=[(at_s, count * mean * 1e6) for at_s, count in climb(times, span_s, _POINTS)],
                    bound=(cap * 1e6, "budget"),
                ),
            ),
            arrivals=arrivals,
            span_s=span_s,
        )


BUDGET = Scenario(
    name="budget",
    says="Clients ask for more than a budget pays, while nodes are killed with money reserved.",
    plan=_plan,
    play=_play,
)
