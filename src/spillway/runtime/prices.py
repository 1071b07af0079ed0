"""Finds what a deployment's model costs: in its own options, else in the published price list, else nowhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from spillway.remote.cost import PriceEntry, PriceTable, Rates, usd_to_pico
from spillway.runtime.models_known import DEFAULT_OUTPUT_LIMIT, known_output_limit

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

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

_TOKEN_KEYS = {
    "input": ("input_mtok",),
    "output": ("output_mtok",),
    "cached_input": ("cache_read_mtok",),
    "cache_write": ("cache_write_mtok", "cache_write_5m_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "reasoning": ("output_reasoning_mtok",),
}
"""Our classes and the price list's keys of each, the first that is set wins."""

_REQUESTS_KEY = "requests_kcount"


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a deployment's model.

    Attributes:
        prices: None: not known, which is not free.
        output_limit: the most tokens it answers with; 16,384 when no family of its name is known.
        context_window: the most input tokens it takes, when published.
        source: where the prices are from.
    """

    prices: PriceTable | None
    output_limit: int
    context_window: int | None
    source: PriceSource


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the published price list; `input_classes` names what it takes at a price of its own beside text."""

    provider: str
    model: str
    prices: PriceTable
    output_limit: int | None
    context_window: int | None
    input_classes: tuple[str, ...] = ()
    deprecated: bool = False


async def resolve_prices(deployment: Deployment, runtime_kind: str | None = None) -> ModelFacts:
    """Return what is known of a deployment's model, without holding the event loop up while the price list loads.

    Args:
        runtime_kind: the runtime that serves it; default: the deployment's `runtime`, else by the model's name.
    """
    if not _needs_the_list(deployment, runtime_kind) or price_list.cache_info().currsize:
        return resolve_prices_sync(deployment, runtime_kind)
    return await asyncio.to_thread(resolve_prices_sync, deployment, runtime_kind)


def resolve_prices_sync(deployment: Deployment, runtime_kind: str | None = None) -> ModelFacts:
    """Do as `resolve_prices` at once; the first call that needs the price list takes about a second."""
    model = deployment.provider_model
    limit = known_output_limit(model)
    if limit is None:
        limit = DEFAULT_OUTPUT_LIMIT
    pricing = deployment.pricing
    if pricing is not None and pricing.is_whole:
        prices = PriceTable.from_pricing(pricing)
        return ModelFacts(prices=prices, output_limit=limit, context_window=None, source="deployment.pricing")
    known = None
    if _needs_the_list(deployment, runtime_kind):
        known = price_list().find(model, _provider_of(deployment, runtime_kind))
    if known is None:
        _warn_unknown(model, runtime_kind or deployment.runtime)
        return ModelFacts(prices=None, output_limit=limit, context_window=None, source="unknown")
    prices = known.prices if pricing is None else known.prices.with_pricing(pricing)
    return ModelFacts(prices=prices, output_limit=limit, context_window=known.context_window, source="genai-prices")


def known_models(pattern: str = "*") -> list[KnownModel]:
    """Return the published models whose name, or `provider/name`, matches a shell pattern or contains it."""
    wanted = pattern.lower()
    if not any(sign in wanted for sign in "*?["):
        wanted = f"*{wanted}*"
    return [
        known
        for known in price_list().all()
        if fnmatchcase(f"{known.provider}/{known.model}".lower(), wanted) or fnmatchcase(known.model.lower(), wanted)
    ]


class PriceList:
    """The published prices as tables of ours, each built once.

    Args:
        snapshot: the data of `genai-prices`.
    """

    def __init__(self, snapshot: DataSnapshot) -> None:
        self._snapshot = snapshot
        self._found: dict[tuple[str, str | None], KnownModel | None] = {}

    def find(self, model: str, provider: str | None) -> KnownModel | None:
        """Return the model that a provider means by a name, or None when it is not listed.

        Args:
            provider: the list's name of the provider, `litellm` for a name with a provider's prefix; None: by the name.
        """
        key = (model, provider)
        if key not in self._found:
            try:
                source, info = self._snapshot.find_provider_model(model, None, provider, None)
            except LookupError:
                self._found[key] = None
            else:
                self._found[key] = _known(source.id, info)
        return self._found[key]

    def all(self) -> Iterator[KnownModel]:
        """Yield every model that has a price for tokens."""
        for provider in self._snapshot.providers:
            for info in provider.models:
                known = _known(provider.id, info)
                if known is not None:
                    yield known


@cache
def price_list() -> PriceList:
    """Return the list that is bundled with `genai-prices`, loaded at the first call."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - its import takes a second

    return PriceList(get_snapshot())


def table_of(info: ModelInfo) -> PriceTable | None:
    """Return a listed model's prices as a table, or None when its tokens have no price."""
    prices: Any = info.prices
    dated = [(None, prices)] if not isinstance(prices, list) else [(each.constraint, each.prices) for each in prices]
    entries = [_entry(constraint, price) for constraint, price in dated]
    if not entries or not all(_prices_tokens(price) for _, price in dated):
        return None
    # The window of a model that embeds holds one text; a request may carry many.
    embeds = known_output_limit(info.id) == 0
    return PriceTable(entries, max_input=None if embeds else info.context_window)


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


def _known(provider: str, info: ModelInfo) -> KnownModel | None:
    prices = table_of(info)
    if prices is None:
        return None
    latest: Any = info.prices[-1].prices if isinstance(info.prices, list) else info.prices
    own_price = tuple(
        kind for kind in ("audio", "image", "video") if _set_prices(latest).get(f"input_{kind}_mtok") is not None
    )
    return KnownModel(
        provider=provider,
        model=info.id,
        prices=prices,
        output_limit=known_output_limit(info.id),
        context_window=info.context_window,
        input_classes=own_price,
        deprecated=bool(info.deprecated),
    )


def _set_prices(price: ModelPrice) -> Mapping[str, Decimal | TieredPrices | None]:
    return vars(price)


def _prices_tokens(price: ModelPrice) -> bool:
    prices = _set_prices(price)
    return prices.get("input_mtok") is not None or prices.get("output_mtok") is not None


def _entry(constraint: Any, price: ModelPrice) -> PriceEntry:
    prices = _set_prices(price)
    starts: set[int] = set()
    for value in prices.values():
        starts.update(tier.start for tier in getattr(value, "tiers", ()))
    since: date | None = getattr(constraint, "start_date", None)
    begin: time | None = getattr(constraint, "start_time", None)
    daily = None if begin is None else (_utc(begin), _utc(constraint.end_time))
    return PriceEntry(
        base=_rates(prices, None),
        tiers=tuple((start, _rates(prices, start)) for start in sorted(starts)),
        since=None if since is None else datetime.combine(since, time(), UTC),
        daily=daily,
    )


def _rates(prices: Mapping[str, Decimal | TieredPrices | None], start: int | None) -> Rates:
    """Return the prices of input larger than `start`, or of input below every tier."""
    rates = {name: _first(prices, keys, start) for name, keys in _TOKEN_KEYS.items()}
    requests = _first(prices, (_REQUESTS_KEY,), start)
    return Rates(
        input=rates["input"] or 0,
        output=rates["output"] or 0,
        cached_input=rates["cached_input"],
        cache_write=rates["cache_write"],
        cache_write_1h=rates["cache_write_1h"],
        reasoning=rates["reasoning"],
        request=(requests or 0) * 1_000,
    )


def _first(prices: Mapping[str, Decimal | TieredPrices | None], keys: Iterable[str], start: int | None) -> int | None:
    value = next((price for key in keys if (price := prices.get(key)) is not None), None)
    if value is None or isinstance(value, Decimal):
        return None if value is None else usd_to_pico(value)
    price = value.base
    for tier in value.tiers:
        if start is not None and tier.start <= start:
            price = tier.price
    return usd_to_pico(price)


def _utc(clock: time) -> time:
    if clock.tzinfo is None:
        return clock
    return datetime.combine(date(1970, 1, 1), clock).astimezone(UTC).time()
