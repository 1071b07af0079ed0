"""What was spent, as far as this process knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.errors import BadRequest, ConfigError, ServerError
from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """Spend and tokens.

    Attributes:
        rows: one for each deployment, model, key or day.
        source: where they come from, in words.
        file: a number of the state file that no other has; 0: there is none.
    """

    rows: list[dict[str, Any]]
    source: str
    file: int


async def spending(gateway: Gateway, by: str, since: int) -> Spending:
    """Return what was spent from a second on, by `deployment`, `model`, `key` or `day`.

    From the state file, what is not written yet included. Without one only what the deployments have spent since the
    start is known, by deployment.

    Raises:
        BadRequest: it is not known.
        ServerError: the state file can't be read.
    """
    state = gateway.cluster.state
    if state is None:
        if by != "deployment":
            raise BadRequest(f"spend by {by} is kept in the state file, and [cluster] state names none", param="by")
        return Spending(rows=_from_memory(gateway), source="since the start", file=0)
    try:
        found = await state.costs(by, since)
    except ConfigError as error:
        raise ServerError(str(error), reason="state") from error
    rows = [
        {
            by: row.name,
            "requests": row.requests,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "cached_tokens": row.cached_tokens,
            "cost_usd": pico_to_usd(row.cost_pico),
            "estimated_usd": pico_to_usd(row.estimated_pico),
            "margin_usd": pico_to_usd(row.margin_pico),
        }
        for row in found
    ]
    return Spending(rows=rows, source="state file", file=state.identity)


def spending_since_start(deployment: str, seen: dict[str, Any]) -> dict[str, Any]:
    """Return the row of what a deployment has counted since its start."""
    return {
        "deployment": deployment,
        "requests": seen["usage_rows"],
        "input_tokens": seen["input_tokens"],
        "output_tokens": seen["output_tokens"],
        "cached_tokens": seen["cached_tokens"],
        "cost_usd": seen["spent_usd"] or 0.0,
        "estimated_usd": 0.0,
        "margin_usd": 0.0,
    }


def _from_memory(gateway: Gateway) -> list[dict[str, Any]]:
    return [
        spending_since_start(name, {**msgspec.structs.asdict(seen), "spent_usd": seen.cost_usd})
        for name, seen in sorted(gateway.cluster.metrics().per_deployment.items())
        if seen.usage_rows
    ]
