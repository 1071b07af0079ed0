"""All scenarios, in the order in which they are played."""

from __future__ import annotations

from spillway.drill.scenarios.breaker import BREAKER
from spillway.drill.scenarios.budget import BUDGET
from spillway.drill.scenarios.kills import KILLS
from spillway.drill.scenarios.limits import APPROXIMATE, STRICT
from spillway.drill.scenarios.store_lost import STORE_LOST

SCENARIOS = {scenario.name: scenario for scenario in (STRICT, APPROXIMATE, BUDGET, BREAKER, KILLS, STORE_LOST)}
