"""The caps that a budget may have, and what each needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.errors import ConfigError

if TYPE_CHECKING:
    from spillway.core.options import Deployment
    from spillway.remote.cost.prices import PriceTable

WINDOWS = (
    ("hour", 60.0, 60),
    ("day", 900.0, 96),
    ("month", 21_600.0, 120),
)
"""Name, seconds of a sub-slot, sub-slots: 1 h by the minute, 24 h by 15 minutes, 30 d by 6 hours."""


def cap_key(name: str) -> str:
    """Return what the option of a window's cap is called."""
    return f"max_spend_per_{name}_usd"


def require_price(deployment: Deployment, prices: PriceTable | None) -> None:
    """Refuse a cap that nothing could be counted against.

    Raises:
        ConfigError: a budget is set and the price is unknown.
    """
    budget = deployment.budget
    if prices is not None or budget is None:
        return
    for name, _, _ in WINDOWS:
        if getattr(budget, cap_key(name)) is not None:
            raise ConfigError(
                f"deployment {deployment.name!r}: [deployment.budget] {cap_key(name)} is set but the price of "
                f"{deployment.provider_model!r} is unknown; give it in [deployment.pricing]"
            )
