"""Gives every engine its prices before the first request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from spillway.remote.cost import require_price
from spillway.runtime.prices import resolve_prices

if TYPE_CHECKING:
    from spillway.remote.engine import Engine


async def price_engines(engines: Iterable[Engine]) -> None:
    """Look up prices and output limits.

    Raises:
        ConfigError: a deployment has a cap and its model has no known price.
    """
    for engine in engines:
        facts = await resolve_prices(engine.deployment, engine.kind)
        engine.gates.prices = facts.prices
        engine.gates.output_limit = facts.output_limit
        engine.gates.output_most = facts.output_most
        require_price(engine.deployment, facts.prices)
