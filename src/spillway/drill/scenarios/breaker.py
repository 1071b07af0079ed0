"""One node finds out that the provider is down: all nodes stop asking, and later a few probes in all find out more."""

from __future__ import annotations

from collections.abc import Sequence

from spillway.core.clock import sleep
from spillway.drill.found import Found, Promise
from spillway.drill.measuring import episodes
from spillway.drill.plan import Fault
from spillway.drill.scenarios.operator import NEVER_S, everybody_turns
from spillway.drill.scenarios.reading import merged
from spillway.drill.scenarios.scenario import Scenario
from spillway.drill.sizes import Size
from spillway.drill.stage import Setting, gateways, load_on

PROBES = 3
OPEN_S = 1.0
EVERYBODYS_WITHIN_S = 1.25
"""A sync of circuits of a node without traffic, and the time to see it from outside."""

CLOSES_WITHIN_S = 2 * OPEN_S + 1.0
LATENCY_S = 0.4
"""The provider's: long enough that all probes are out before the first is back."""

AT_ONCE = 3
_WITHIN_S = 6.0
_DOWN = [{"fault": "503", "p": 1.0}]

_OPTIONS = f"""\
[deployment.circuit_breaker]
failure_threshold = 5
open_duration_s = {OPEN_S}
max_open_duration_s = {OPEN_S}
half_open_max_probes = {PROBES}
[deployment.retry]
max_retries = 0
"""


async def _play(setting: Setting, faults: Sequence[Fault]) -> Found:
    async with gateways(setting, "breaker", _OPTIONS, latency_s=LATENCY_S) as stage:
        await stage.provider.misbehave(stage.session, _DOWN)
        first, load = load_on(stage), load_on(stage)
        setting.say("the provider is down, and node 1 alone asks it")
        async with first.asking([1], PROBES * 2):
            opened = await everybody_turns(stage, "open", after_s=0.0, within_s=_WITHIN_S)
        setting.say("the circuit is open; clients ask all nodes")
        async with load.asking([node.number for node in stage.nodes], AT_ONCE):
            await sleep(2 * OPEN_S + 2 * LATENCY_S)
            await stage.provider.misbehave(stage.session, [])
            healed_s = stage.now()
            stage.record("the provider is well again")
            closed = await everybody_turns(stage, "closed", after_s=healed_s, within_s=_WITHIN_S)
            await sleep(LATENCY_S)
        arrivals = await stage.arrivals()
        span_s = stage.now()
        spread_s = max(opened.values()) - min(opened.values())
        probes = probes_of(merged(arrivals), max(opened.values()), healed_s)
        closes_s = max(closed.values()) - healed_s
        return Found(
            name="breaker",
            says=BREAKER.says,
            faults=faults,
            promises=(
                Promise(
                    name="one node's open circuit is everybody's",
                    promised=f"within {EVERYBODYS_WITHIN_S * 1000:.0f} ms",
                    measured=f"{spread_s * 1000:.0f} ms" if spread_s < NEVER_S else "never",
                    holds=spread_s <= EVERYBODYS_WITHIN_S,
                ),
                Promise(
                    name="probes of all nodes in each half-open time",
                    promised=f"{PROBES} each time",
                    measured=", ".join(map(str, probes)) or "none",
                    holds=bool(probes) and all(count == PROBES for count in probes),
                ),
                Promise(
                    name="closed everywhere once the provider is well",
                    promised=f"within {CLOSES_WITHIN_S:g} s",
                    measured=f"{closes_s:.2f} s" if closes_s < NEVER_S else "never",
                    holds=closes_s <= CLOSES_WITHIN_S,
                ),
            ),
            remarks={"requests at the provider": f"{sum(map(len, arrivals.values()))}", **stage.stalls()},
            events=tuple(stage.events),
            arrivals=arrivals,
            span_s=span_s,
        )


def probes_of(times: Sequence[float], opened_s: float, healed_s: float) -> list[int]:
    """Return how many requests came in each half-open time: those that came before the first had its answer."""
    after = [time_s for time_s in times if time_s > opened_s + OPEN_S / 2]
    found = []
    for first_s, _, _ in episodes(after, LATENCY_S * 1.2):
        found.append(sum(first_s <= time_s < first_s + LATENCY_S for time_s in after))
        if first_s > healed_s:
            break
    return found


def _plan(seed: int, size: Size) -> tuple[Fault, ...]:  # noqa: ARG001 - nothing is left to chance
    return ()


BREAKER = Scenario(
    name="breaker",
    says="The provider goes down and one node finds out.",
    plan=_plan,
    play=_play,
)
