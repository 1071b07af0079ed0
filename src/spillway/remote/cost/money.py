"""Money as integers: one pico-USD is 10**-12 USD, because list prices are not whole nano-dollars per token."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

PICO_PER_USD = 10**12
"""Pico-USD in a US dollar."""

_DEAREST_USD = 1_000_000
_LONGEST = 64


def usd_to_pico(usd: float | Decimal | str) -> int:
    """Return `usd` in pico-USD, rounded half up; a float means the decimal number that it prints as.

    Raises:
        ValueError: it is not a number, not finite, or negative.
    """
    if type(usd) is int:
        if usd < 0:
            raise ValueError(f"an amount of money must not be negative: {usd!r}")
        return usd * PICO_PER_USD
    try:
        amount = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    except InvalidOperation:
        raise ValueError(f"not an amount of money: {usd!r}") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"an amount of money must be finite and not negative: {usd!r}")
    return int(amount.scaleb(12).to_integral_value(rounding=ROUND_HALF_UP))


def pico_to_usd(pico: int) -> float:
    """Return `pico` in USD as the nearest float, for display; never calculate with it."""
    return pico / PICO_PER_USD


def told_pico(cost: Any) -> int | None:
    """Return what a provider says that an answer cost, in pico-USD; None for what is no believable amount.

    Args:
        cost: a decimal number as text, in any notation.
    """
    if not isinstance(cost, str) or len(cost) > _LONGEST:
        return None
    try:
        amount = Decimal(cost)
        return usd_to_pico(amount) if amount <= _DEAREST_USD else None
    except (InvalidOperation, ValueError):
        return None
