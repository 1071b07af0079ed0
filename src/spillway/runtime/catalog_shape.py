"""Known models in plain numbers: what `spillway models --json` prints."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from spillway.remote.cost import PriceEntry, PriceTable, Rates, pico_to_usd
from spillway.runtime.catalog import KnownModel

_COUNTED = {"request": "request_usd", "web_search": "web_search_usd"}


def model_shape(known: KnownModel, now: datetime) -> dict[str, Any]:
    """Return a model with its prices at `now`, those to come, and those of its services.

    Prices are in USD per million tokens, of requests and searches in USD each; a class that is absent is priced as the
    class it is part of, and what is not known is None or an empty list.
    """
    return {
        "provider": known.provider,
        "model": known.model,
        "name": known.name,
        "context_window": known.context_window,
        "output_limit": known.output_limit,
        "output_limit_assumed": known.output_limit_assumed,
        "input": list(known.input),
        "output": list(known.output),
        "deprecated": known.deprecated,
        "prices": _held(known.prices.entry_at(now)),
        "services": {name: _held(own.entry_at(now)) for name, own in known.prices.services.items()},
        "changes": [
            {
                "from": None if entry.since is None else entry.since.isoformat(),
                "daily_utc": None if entry.daily is None else [clock.isoformat() for clock in entry.daily],
                **_held(entry),
            }
            for entry in changes(known.prices, now)
        ],
    }


def changes(prices: PriceTable, now: datetime) -> list[PriceEntry]:
    """Return the prices that will hold later, or hold now and then at other hours of the day."""
    held = prices.entry_at(now)
    return [
        entry
        for entry in prices.entries
        if entry is not held and ((entry.since is not None and entry.since > now) or entry.daily is not None)
    ]


def _held(entry: PriceEntry) -> dict[str, Any]:
    return {
        **_rates(entry.base),
        "tiers": [{"above_input_tokens": start, **_rates(rates)} for start, rates in entry.tiers],
    }


def _rates(rates: Rates) -> dict[str, float]:
    shown = {}
    for name in rates.__struct_fields__:
        pico = getattr(rates, name)
        if name in _COUNTED:
            if pico:
                shown[_COUNTED[name]] = pico_to_usd(pico) / 1_000_000
        elif pico is not None:
            shown[f"{name}_per_mtok_usd"] = pico_to_usd(pico)
    return shown
