"""What a run would send and cost at most; sends nothing and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from spillway.batch.intake import Intake
from spillway.batch.lines import BadLine
from spillway.batch.source import Source
from spillway.batch.targets import Targets
from spillway.core.clock import wall_now
from spillway.core.options import Deployment
from spillway.core.request import GenerateRequest
from spillway.remote.cost import cost_bound, input_bound, output_bound, pico_to_usd
from spillway.runtime.prices import PricedModel, resolve_prices_sync

_BYTES_A_TOKEN = 4


class TargetEstimate(msgspec.Struct, kw_only=True):
    """What lines of one target come to.

    Attributes:
        input_tokens: about so many, at four bytes a token.
        max_output_tokens: what they may be answered with.
        max_cost_usd: the most they can cost together; None when the price is unknown.
    """

    lines: int = 0
    input_tokens: int = 0
    max_output_tokens: int = 0
    max_cost_usd: float | None = 0.0


class Estimate(msgspec.Struct, kw_only=True):
    """What an input comes to; `problems` holds the first bad lines, `line N: what is wrong`."""

    lines: int = 0
    bad_lines: int = 0
    problems: list[str] = []
    targets: dict[str, TargetEstimate] = {}

    @property
    def max_cost_usd(self) -> float | None:
        """The most it can cost; None when a price is unknown."""
        costs = [t.max_cost_usd for t in self.targets.values()]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None


_SHOWN_PROBLEMS = 10


def estimate(
    deployments: Sequence[Deployment], name: str, *, asked: str | None = None, limit: int | None = None
) -> Estimate:
    """Return what the input `name` comes to.

    Args:
        asked: the deployment or group that overrides what lines name.
        limit: look at the first so many lines only.

    Raises:
        ConfigError: `asked` is unknown, or the input can't be read.
    """
    targets = Targets(deployments, asked)
    by_name = {d.name: d for d in deployments}
    facts: dict[str, PricedModel] = {}
    total = Estimate()
    source = Source(name, Path())
    try:
        about = source.fingerprint()
        intake = Intake(about, targets)
        for number, raw in source.lines(about):
            if total.lines == limit:
                break
            total.lines += 1
            found = intake.read(number, raw)
            if isinstance(found, BadLine):
                total.bad_lines += 1
                if len(total.problems) < _SHOWN_PROBLEMS:
                    total.problems.append(f"line {number}: {found.message}")
                continue
            line, target = found
            first = target.members[0]
            if first not in facts:
                facts[first] = resolve_prices_sync(by_name[first])
            _add(total.targets.setdefault(target.name, TargetEstimate()), line.request, facts[first])
    finally:
        source.close()
    return total


def _add(row: TargetEstimate, request: GenerateRequest, facts: PricedModel) -> None:
    bound, output = input_bound(request), output_bound(request, facts.output_limit, most=facts.output_most)
    row.lines += 1
    row.input_tokens += -(-bound // _BYTES_A_TOKEN)
    row.max_output_tokens += output
    if facts.prices is None:
        row.max_cost_usd = None
    elif row.max_cost_usd is not None:
        pico = cost_bound(request, facts.prices, input_tokens=bound, output_tokens=output, when=wall_now())
        row.max_cost_usd += pico_to_usd(pico)
