"""The published models: the prices that `genai-prices` bundles, and what is known of them besides."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from spillway.core.model_catalog import Modality, family_of, known_output_limit
from spillway.remote.cost import PriceTable
from spillway.runtime.catalog_prices import table_of

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo

OWN_PROVIDERS = ("openai", "anthropic", "google", "azure")
"""The providers that a runtime of ours speaks to, by the price list's names; the others are reached through LiteLLM."""


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the published price list.

    Attributes:
        output_limit: the most tokens of an answer, 0 for one that embeds; None: not known.
        output_limit_assumed: whether that is the limit of its elder siblings, and not its own.
        context_window: the most input tokens, the larger figure where list and family differ; None: not known.
        input: what it takes; empty: not known.
        output: what it gives; `vector` for one that embeds.
        deprecated: whether its provider has announced its end.
    """

    provider: str
    model: str
    prices: PriceTable
    name: str | None = None
    output_limit: int | None = None
    output_limit_assumed: bool = False
    context_window: int | None = None
    input: tuple[Modality, ...] = ()
    output: tuple[Modality, ...] = ()
    deprecated: bool = False


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
                self._found[key] = _known(source.id, info, model)
        return self._found[key]

    def all(self) -> Iterator[KnownModel]:
        """Yield every model that has a price for tokens, the own providers' first."""
        rank = {name: place for place, name in enumerate(OWN_PROVIDERS)}
        for provider in sorted(self._snapshot.providers, key=lambda one: (rank.get(one.id, len(rank)), one.id)):
            for info in provider.models:
                known = _known(provider.id, info, info.id)
                if known is not None:
                    yield known


@cache
def price_list() -> PriceList:
    """Return the list that is bundled with `genai-prices`, loaded at the first call."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - its import takes a second

    return PriceList(get_snapshot())


def known_models(pattern: str = "*") -> list[KnownModel]:
    """Return the published models whose name, or `provider/name`, matches a shell pattern or contains it.

    Upper and lower case are the same. The own providers' models come first.
    """
    wanted = pattern.lower()
    if not any(sign in wanted for sign in "*?["):
        wanted = f"*{wanted}*"
    return [known for known in price_list().all() if any(fnmatchcase(name, wanted) for name in _names(known))]


def nearest_models(pattern: str, count: int = 3) -> list[str]:
    """Return the names of known models that resemble a pattern most."""
    wanted = "".join(sign for sign in pattern.lower() if sign not in "*?[]")
    every = list(price_list().all())
    own = sorted({known.model for known in every if known.provider in OWN_PROVIDERS})
    near = difflib.get_close_matches(wanted, own, n=count, cutoff=0.6)
    return near or difflib.get_close_matches(wanted, sorted({known.model for known in every}), n=count, cutoff=0.0)


def _names(known: KnownModel) -> Sequence[str]:
    return known.model.lower(), f"{known.provider}/{known.model}".lower()


def _known(provider: str, info: ModelInfo, asked: str) -> KnownModel | None:
    family = family_of(asked) or family_of(info.id)
    limit = known_output_limit(asked)
    windows = [window for window in (info.context_window, family and family.context_window) if window]
    window = max(windows, default=None)
    # The window of a model that embeds holds one text; a request may carry many.
    prices = table_of(info, max_input=None if limit == 0 else window)
    if prices is None:
        return None
    return KnownModel(
        provider=provider,
        model=info.id,
        prices=prices,
        name=info.name,
        output_limit=limit,
        output_limit_assumed=limit is not None and family is not None and family.assumed,
        context_window=window,
        input=() if family is None else family.input,
        output=() if family is None else family.output,
        deprecated=bool(info.deprecated),
    )
