"""What simulated answers cost: a small table of list prices, kept apart from the tables of the clients it bills."""

from __future__ import annotations

from collections.abc import Mapping

PICO_PER_USD = 10**12

DEFAULT_PRICE: tuple[float, float] = (1.0, 4.0)

PRICES: Mapping[str, tuple[float, float]] = {
    "gpt-6-astra": (10.0, 50.0),
    "gpt-6.1-sol": (2.0, 10.0),
    "gpt-6.1-terra": (1.0, 5.0),
    "gpt-6-sol": (2.0, 10.0),
    "gpt-6-luna": (0.1, 0.5),
    "gpt-5-mini": (0.25, 2.0),
    "gpt-5-nano": (0.05, 0.4),
    "gpt-5": (1.25, 10.0),
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "text-embedding-3-small": (0.02, 0.0),
    "text-embedding-3-large": (0.13, 0.0),
    "claude-opus-5-5": (4.0, 20.0),
    "claude-opus-5": (5.0, 25.0),
    "claude-sonnet-5-5": (2.0, 10.0),
    "claude-sonnet-5": (2.0, 10.0),
    "claude-sonnet-4-5": (3.0, 15.0),
    "claude-haiku-5-5": (0.1, 0.5),
    "claude-haiku-4-5": (1.0, 5.0),
    "gemini-3.8-flash": (0.75, 3.75),
    "gemini-2.5-pro": (1.25, 10.0),
    "gemini-2.5-flash": (0.3, 2.5),
    "gemini-2.5-flash-lite": (0.1, 0.4),
    "gemini-2.0-flash": (0.1, 0.4),
    "gemini-embedding-001": (0.15, 0.0),
}
"""USD per million input and output tokens."""


class PriceList:
    """Prices by model name: the exact name, else the longest listed prefix, else the default.

    A provider's prefix (`openai/gpt-4o`) is not part of the name. Money is counted in whole pico-USD.

    Args:
        prices: USD per million input and output tokens by model; they go before the built-in table.
        default: The price of a model that no entry fits.
    """

    def __init__(
        self,
        prices: Mapping[str, tuple[float, float]] | None = None,
        *,
        default: tuple[float, float] = DEFAULT_PRICE,
    ) -> None:
        self._prices = {**PRICES, **(prices or {})}
        self._default = default
        self._pico: dict[str, tuple[int, int]] = {}

    def cost_pico(self, model: str, input_tokens: int, output_tokens: int) -> int:
        """Return the price of an answer in pico-USD."""
        rates = self._pico.get(model)
        if rates is None:
            per_input, per_output = self._find(model)
            rates = (round(per_input * 10**6), round(per_output * 10**6))
            if len(self._pico) < 10_000:
                self._pico[model] = rates
        return rates[0] * input_tokens + rates[1] * output_tokens

    def _find(self, model: str) -> tuple[float, float]:
        name = model.rpartition("/")[2]
        exact = self._prices.get(model) or self._prices.get(name)
        if exact is not None:
            return exact
        prefixes = [known for known in self._prices if name.startswith(known)]
        return self._prices[max(prefixes, key=len)] if prefixes else self._default
