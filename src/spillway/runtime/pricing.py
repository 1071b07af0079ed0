"""Gives every engine its prices before the first request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spillway.remote.cost import require_price
from spillway.runtime.prices import PricedModel, resolve_prices

if TYPE_CHECKING:
    from spillway.core.options import Deployment
    from spillway.remote.engine import Engine


async def price_engines(engines: Iterable[Engine]) -> None:
    """Look up prices and output limits.

    Raises:
        ConfigError: a deployment has a cap and its model has no known price.
    """
    for engine in engines:
        put_prices(engine, await prices_of(engine.deployment, engine.kind))


async def prices_of(deployment: Deployment, kind: str) -> PricedModel:
    """Return what is known of a deployment's model.

    Raises:
        ConfigError: the deployment has a cap and its model has no known price.
    """
    facts = await resolve_prices(deployment, kind)
    require_price(deployment, facts.prices)
    return facts


def put_prices(engine: Engine, facts: PricedModel) -> None:
    """Have an engine count by these prices from now on."""
    engine.gates.prices = facts.prices
    engine.gates.output_limit = facts.output_limit
    engine.gates.output_most = facts.output_most
