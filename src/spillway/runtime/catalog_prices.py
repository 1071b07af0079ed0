"""Reads a model's published prices into a table: dates, hours, input sizes, services and every class of tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from spillway.remote.cost import PriceEntry, PriceTable, Rates, usd_to_pico

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, PriceVariant, TieredPrices

    _Prices = Mapping[str, Decimal | TieredPrices | None]

_TOKEN_KEYS = {
    "input": ("input_mtok",),
    "output": ("output_mtok",),
    "cached_input": ("cache_read_mtok",),
    "cache_write": ("cache_write_mtok", "cache_write_5m_mtok"),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "reasoning": ("output_reasoning_mtok",),
    "audio_input": ("input_audio_mtok",),
    "image_input": ("input_image_mtok",),
    "video_input": ("input_video_mtok",),
    "cached_audio": ("cache_audio_read_mtok",),
    "cached_image": ("cache_image_read_mtok",),
    "audio_output": ("output_audio_mtok",),
    "image_output": ("output_image_mtok",),
}
"""Our classes and the price list's keys of each, the first that is set wins."""

_BY_THOUSAND = {"request": "requests_kcount", "web_search": "web_searches_kcount"}
_SERVICE_KEYS = ("service_tier", "speed", "processing")
"""Of the conditions that the list knows, those that a request or its answer tells of."""


_EVER = datetime.min.replace(tzinfo=UTC)


def table_of(info: ModelInfo, *, max_input: int | None = None) -> PriceTable | None:
    """Return a listed model's prices as a table, or None when its tokens have no price.

    Args:
        max_input: the most input tokens the model takes, which bounds every estimate.
    """
    prices: Any = info.prices
    dated = [(None, prices)] if not isinstance(prices, list) else [(each.constraint, each.prices) for each in prices]
    if not dated or not all(_prices_tokens(price) for _, price in dated):
        return None
    # The first holds when no other does, whatever its own condition says.
    dated[0] = (None, dated[0][1])
    standard = [(constraint, vars(price)) for constraint, price in dated]
    services = {name: _entries(standard, variants) for name, variants in _variants(info.price_variants or ()).items()}
    return PriceTable(_entries(standard, ()), max_input=max_input, services=services)


def _variants(listed: Iterable[PriceVariant]) -> dict[str, list[PriceVariant]]:
    """Return the variants that change a price, by the service they are for."""
    found: dict[str, list[PriceVariant]] = {}
    for variant in listed:
        ((key, service), *more) = variant.when.items()
        if key in _SERVICE_KEYS and not more and any(value is not None for value in vars(variant.prices).values()):
            found.setdefault(service, []).append(variant)
    return found


def _entries(standard: Iterable[tuple[Any, _Prices]], variants: Iterable[PriceVariant]) -> list[PriceEntry]:
    """Return the prices of each stretch of time, with those of a service's variants laid over them."""
    variants = list(variants)
    begins = sorted(
        {_since(variant.constraint) for variant in variants},
        key=lambda since: since or datetime.min.replace(tzinfo=UTC),
    )
    entries = []
    for constraint, prices in standard:
        since, daily = _since(constraint), _daily(constraint)
        entries.append(_entry(prices, since, daily))
        for begin in begins:
            over: dict[str, Any] = {}
            for variant in variants:
                own = _since(variant.constraint)
                if own is None or (begin is not None and own <= begin):
                    for key, price in vars(variant.prices).items():
                        if price is not None:
                            over.setdefault(key, price)
            later = max((each for each in (since, begin) if each is not None), default=None)
            entries.append(_entry({**prices, **over}, later, daily))
    return entries


def _since(constraint: Any) -> datetime | None:
    day: date | None = getattr(constraint, "start_date", None)
    return None if day is None else datetime.combine(day, time(), UTC)


def _daily(constraint: Any) -> tuple[time, time] | None:
    begin: time | None = getattr(constraint, "start_time", None)
    return None if begin is None else (utc(begin), utc(constraint.end_time))


def _prices_tokens(price: ModelPrice) -> bool:
    prices = vars(price)
    return prices.get("input_mtok") is not None or prices.get("output_mtok") is not None


def _entry(prices: _Prices, since: datetime | None, daily: tuple[time, time] | None) -> PriceEntry:
    starts: set[int] = set()
    for value in prices.values():
        starts.update(tier.start for tier in getattr(value, "tiers", ()))
    return PriceEntry(
        base=_rates(prices, None),
        tiers=tuple((start, _rates(prices, start)) for start in sorted(starts)),
        since=since,
        daily=daily,
    )


def _rates(prices: _Prices, start: int | None) -> Rates:
    """Return the prices of input larger than `start`, or of input below every tier."""
    rates = {name: _first(prices, keys, start) for name, keys in _TOKEN_KEYS.items()}
    rates |= {name: (_first(prices, (key,), start) or 0) * 1_000 for name, key in _BY_THOUSAND.items()}
    rates["input"] = rates["input"] or 0
    rates["output"] = rates["output"] or 0
    return Rates(**rates)  # type: ignore[arg-type]


def _first(prices: _Prices, keys: Iterable[str], start: int | None) -> int | None:
    value = next((price for key in keys if (price := prices.get(key)) is not None), None)
    if value is None or isinstance(value, Decimal):
        return None if value is None else usd_to_pico(value)
    price = value.base
    for tier in value.tiers:
        if start is not None and tier.start <= start:
            price = tier.price
    return usd_to_pico(price)


def utc(clock: time) -> time:
    """Return a time of day, of any zone, in UTC."""
    if clock.tzinfo is None:
        return clock
    return datetime.combine(date(1970, 1, 1), clock).astimezone(UTC).time()
