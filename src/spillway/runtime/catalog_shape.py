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
    changes = changes_of(known.prices, now)
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
        "changes": [{"from": at.isoformat(), "daily": daily, **_held(entry)} for at, daily, entry in changes],
    }


def changes_of(prices: PriceTable, now: datetime) -> list[tuple[datetime, bool, PriceEntry]]:
    """Return the prices that will hold later, each with the instant it first does and whether that returns daily."""
    told = [prices.entry_at(now)]
    found = []
    for edge in sorted({edge for entry in prices.entries for edge in entry.edges(now) if edge > now}):
        entry = prices.entry_at(edge)
        if not any(entry is each for each in told):
            told.append(entry)
            found.append((edge, edge not in {each.since for each in prices.entries}, entry))
    return found


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
