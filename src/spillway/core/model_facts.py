"""What is known of a deployment's model, in plain numbers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spillway.core.model_catalog import DEFAULT_OUTPUT_LIMIT, Modality, family_of, known_output_limit


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model.

    Attributes:
        output_limit: the most tokens it is taken to answer with; 16,384 when no family of its name is known.
        output_limit_known: whether that is published, and not assumed.
        context_window: the most input tokens it takes; None: not known.
        input: what it takes (`text`, `image`, `audio`, `video`, `pdf`); empty: not known.
        output: what it gives; `vector` for one that embeds.
        deprecated: whether its provider has announced its end.
        price_source: where the prices are from: `deployment.pricing`, `genai-prices` or `unknown`; None: not looked up.
        published: published prices in USD per million tokens, by the names of `Pricing`; None: not looked up.
    """

    output_limit: int = DEFAULT_OUTPUT_LIMIT
    output_limit_known: bool = False
    context_window: int | None = None
    input: tuple[Modality, ...] = ()
    output: tuple[Modality, ...] = ()
    deprecated: bool = False
    price_source: str | None = None
    published: Mapping[str, float] | None = None

    @classmethod
    def of(cls, model: str) -> ModelFacts:
        """Return what the name of a model tells, without prices."""
        family, limit = family_of(model), known_output_limit(model)
        return cls(
            output_limit=DEFAULT_OUTPUT_LIMIT if limit is None else limit,
            output_limit_known=limit is not None and (family is None or not family.assumed),
            context_window=None if family is None else family.context_window,
            input=() if family is None else family.input,
            output=() if family is None else family.output,
        )
