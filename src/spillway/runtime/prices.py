"""Finds what a deployment's model costs: in its own options, else in the published price list, else nowhere."""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from typing import TYPE_CHECKING, Literal

import msgspec

from spillway.core.clock import wall_now
from spillway.core.model_facts import ModelFacts
from spillway.remote.cost import PriceTable, Rates, pico_to_usd
from spillway.runtime.catalog import KnownModel, price_list

if TYPE_CHECKING:
    from spillway.core.options import Deployment

_logger = logging.getLogger("spillway.prices")

PriceSource = Literal["deployment.pricing", "genai-prices", "unknown"]

_PROVIDERS = {
    "openai": "openai",
    "azure": "azure",
    "anthropic": "anthropic",
    "gemini": "google",
    "vertex": "google",
    "litellm": "litellm",
}
"""Runtimes whose prices are published, and the price list's name of each provider."""


class PricedModel(ModelFacts, frozen=True, kw_only=True):
    """What is known of a deployment's model, with its prices.

    Attributes:
        prices: None: not known, which is not free.
        source: where the prices are from.
    """

    prices: PriceTable | None
    source: PriceSource

    @property
    def output_most(self) -> int | None:
        """The published limit of its output; None: not known."""
        return self.output_limit if self.output_limit_known else None


async def resolve_prices(deployment: Deployment, runtime_kind: str | None = None) -> PricedModel:
    """Return what is known of a deployment's model, without holding the event loop up while the price list loads.

    Args:
        runtime_kind: the runtime that serves it; default: the deployment's `runtime`, else by the model's name.
    """
    if not _needs_the_list(deployment, runtime_kind) or price_list.cache_info().currsize:
        return resolve_prices_sync(deployment, runtime_kind)
    return await asyncio.to_thread(resolve_prices_sync, deployment, runtime_kind)


def resolve_prices_sync(deployment: Deployment, runtime_kind: str | None = None) -> PricedModel:
    """Do as `resolve_prices` at once; the first call that needs the price list takes about a second."""
    priced = _resolved(deployment, runtime_kind)
    if priced.prices is None:
        _warn_unknown(deployment.provider_model, runtime_kind or deployment.runtime)
    return priced


def facts_of(deployment: Deployment, runtime_kind: str | None = None) -> PricedModel:
    """Return all that is known of a deployment's model, its published prices beside its own; warns of nothing."""
    priced = _resolved(deployment, runtime_kind)
    known = _listed(deployment, runtime_kind)
    return msgspec.structs.replace(
        priced,
        price_source=priced.source,
        published=None if known is None else _published(known.prices),
        deprecated=known is not None and known.deprecated,
        context_window=priced.context_window if known is None else known.context_window,
    )


def _resolved(deployment: Deployment, runtime_kind: str | None) -> PricedModel:
    facts = msgspec.structs.asdict(ModelFacts.of(deployment.provider_model))
    pricing = deployment.pricing
    if pricing is not None and pricing.is_whole:
        prices = PriceTable.from_pricing(pricing)
        # The window of a model that embeds holds one text; a request may carry many.
        prices.max_input = facts["context_window"] if facts["output_limit"] else None
        return PricedModel(**facts, prices=prices, source="deployment.pricing")
    known = _listed(deployment, runtime_kind)
    if known is None:
        return PricedModel(**facts, prices=None, source="unknown")
    facts["context_window"], facts["deprecated"] = known.context_window, known.deprecated
    prices = known.prices if pricing is None else known.prices.with_pricing(pricing)
    return PricedModel(**facts, prices=prices, source="genai-prices")


def _listed(deployment: Deployment, runtime_kind: str | None) -> KnownModel | None:
    kind = runtime_kind or deployment.runtime
    if kind is not None and kind not in _PROVIDERS:
        return None
    return price_list().find(deployment.provider_model, _provider_of(deployment, runtime_kind))


def _published(prices: PriceTable) -> dict[str, float]:
    """Return the prices that hold now, by the names of `Pricing`."""
    return in_usd(prices.entry_at(wall_now()).base)


def in_usd(rates: Rates) -> dict[str, float]:
    """Return the prices of token classes in USD per million tokens, by the names of `Pricing`."""
    classes = ("input", "output", "cached_input", "cache_write", "cache_write_1h", "reasoning")
    given = {name: getattr(rates, name) for name in classes}
    return {f"{name}_per_mtok_usd": pico_to_usd(rate) for name, rate in given.items() if rate is not None}


def _needs_the_list(deployment: Deployment, runtime_kind: str | None) -> bool:
    kind = runtime_kind or deployment.runtime
    whole = deployment.pricing is not None and deployment.pricing.is_whole
    return not whole and (kind is None or kind in _PROVIDERS)


def _provider_of(deployment: Deployment, runtime_kind: str | None) -> str | None:
    kind = runtime_kind or deployment.runtime
    if kind == "openai" and getattr(deployment.runtime_config, "variant", None) == "azure":
        kind = "azure"
    return None if kind is None else _PROVIDERS[kind]


@cache
def _warn_unknown(model: str, kind: str | None) -> None:
    where = "no runtime" if kind is None else f"runtime {kind!r}"
    _logger.warning(
        "the price of model %r (%s) is unknown: its requests have no cost; give it in [deployment.pricing]",
        model,
        where,
    )
