"""Play the chosen scenarios one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from spillway.core.clock import loop_clock
from spillway.drill.found import Found, Promise
from spillway.drill.processes import DrillError
from spillway.drill.scenarios.registry import SCENARIOS
from spillway.drill.scenarios.scenario import Scenario
from spillway.drill.sizes import Size
from spillway.drill.stage import Setting
from spillway.drill.store import Store


class Drilled(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole drill found."""

    seed: int
    size: Size
    scenarios: Sequence[Found]
    elapsed_s: float

    @property
    def holds(self) -> bool:
        """Whether all promises of all scenarios held."""
        return all(found.holds for found in self.scenarios)

    @property
    def counts(self) -> tuple[int, int]:
        """How many promises held, of how many."""
        promises = [promise for found in self.scenarios for promise in found.promises]
        return sum(promise.holds for promise in promises), len(promises)


async def drill(
    names: Sequence[str],
    folder: Path,
    environ: Mapping[str, str],
    *,
    size: Size,
    seed: int,
    say: Callable[[str, str], None],
) -> Drilled:
    """Play scenarios; one that can't be played to its end has broken its promise.

    Args:
        names: of the scenarios.
        folder: an empty one, for all that the programs write.
        environ: what they find in their environment.
        say: shows a line of progress of a scenario.

    Cancellation: ends every program that was started.
    """
    clock = loop_clock()
    began = clock()
    found = []
    store = Store(folder, environ)
    try:
        for name in names:

            def tell(line: str, name: str = name) -> None:
                say(name, line)

            setting = Setting(folder, environ, size=size, seed=seed, store=store, say=tell)
            found.append(await _play(SCENARIOS[name], setting))
    finally:
        await store.stop()
    return Drilled(seed=seed, size=size, scenarios=found, elapsed_s=clock() - began)


async def _play(scenario: Scenario, setting: Setting) -> Found:
    faults = scenario.plan(setting.seed, setting.size)
    trouble: list[str] = []
    try:
        await setting.store.start()
        return await scenario.play(setting, faults)
    except* DrillError as errors:
        trouble += _leaves(errors)
    promise = Promise(name="the scenario is played", promised="to its end", measured=trouble[0], holds=False)
    return Found(name=scenario.name, says=scenario.says, faults=faults, promises=(promise,))


def _leaves(errors: BaseExceptionGroup[DrillError]) -> list[str]:
    found = []
    for error in errors.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return found
