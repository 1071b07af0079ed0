"""`spillway models`: what is known of models, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from spillway.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from datetime import datetime

    from spillway.remote.cost import PriceEntry, PriceTable, Rates
    from spillway.runtime.catalog import KnownModel

EPILOG = """\b
Examples:
  spillway models
  spillway models haiku
  spillway models 'openai/gpt-5*' --json"""

_HEADINGS = ("model", "window", "answer", "modes", "in", "cached", "write", "out")
_LETTERS = {"text": "T", "image": "I", "audio": "A", "video": "V", "pdf": "P", "vector": "N"}
_LEGEND = """\
USD per million tokens; write: 5 minutes/1 hour; answer: ~ assumed, ? not known;
modes: T text, I image, A audio, V video, P pdf, N vector"""
_TOLD_IN_FULL = 5
_MEDIA = (
    ("audio", "audio_input", "cached_audio", "audio_output"),
    ("images", "image_input", "cached_image", "image_output"),
    ("video", "video_input", None, None),
)


@click.command(epilog=EPILOG)
@click.argument("pattern", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(pattern: str | None, *, as_json: bool) -> None:
    """List known models: context window, output limit, prices.

    PATTERN is a part of a name or a shell pattern; capitals do not matter. Models of the providers that have a runtime
    are listed, those of others when none of these match or when the pattern is a `provider/name`. What costs more
    beyond an input size, or from a date on, stands on a line of its own; so do services and media of a model that is
    named in full, or when at most five match.
    """
    from spillway.core.clock import wall_now
    from spillway.core.errors import ConfigError
    from spillway.runtime.catalog import OWN_PROVIDERS, known_models, nearest_models
    from spillway.runtime.catalog_shape import model_shape
    from spillway.runtime.config_errors import quoted

    matching = known_models(pattern or "*")
    if not matching:
        near = ", ".join(quoted(name) for name in nearest_models(pattern or ""))
        raise ConfigError(f"no known model matches {quoted(pattern or '')} (nearest: {near})")
    found = [known for known in matching if known.provider in OWN_PROVIDERS]
    if not found or "/" in (pattern or ""):
        found = matching
    now = wall_now()
    if as_json:
        print_json([model_shape(known, now) for known in found])
        return
    print_table(_HEADINGS, list(_rows(found, now, (pattern or "").lower())), dense=True)
    click.echo(f"\n{_LEGEND}")
    if others := len(matching) - len(found):
        say("note", f"{others:,} more at providers that LiteLLM reaches, see: spillway models '*/{pattern or '*'}'")


def _rows(found: Sequence[KnownModel], now: datetime, asked: str) -> Iterator[tuple[str, ...]]:
    provider = None
    for known in found:
        if known.provider != provider:
            provider = known.provider
            yield (f"[{provider}]", *[""] * (len(_HEADINGS) - 1))
        entry = known.prices.entry_at(now)
        yield (
            f"{known.model}{' (deprecated)' if known.deprecated else ''}",
            _count(known.context_window),
            f"{'~' if known.output_limit_assumed else ''}{_count(known.output_limit)}",
            _modes(known),
            *_prices(entry.base),
        )
        named = asked in {known.model.lower(), f"{provider}/{known.model}".lower()}
        in_full = named or len(found) <= _TOLD_IN_FULL
        for label, rates in _further(known.prices, entry, now, in_full=in_full):
            yield (f"  {label}", "", "", "", *_prices(rates))


def _further(prices: PriceTable, entry: PriceEntry, now: datetime, *, in_full: bool) -> Iterator[tuple[str, Rates]]:
    """Yield what else the model may cost, each with a label."""
    from spillway.runtime.catalog_shape import changes_of

    yield from _sizes(entry)
    for at, daily, later in changes_of(prices, now):
        since = f"from {at:%H:%M} UTC" if daily else f"from {at:%Y-%m-%d}"
        yield since, later.base
        yield from _sizes(later, f"{since}, ")
    if not in_full:
        return
    yield from _of_media(entry.base)
    for name, own in prices.services.items():
        held = own.entry_at(now)
        yield name, held.base
        yield from _sizes(held, f"{name}, ")


def _sizes(entry: PriceEntry, before: str = "") -> Iterator[tuple[str, Rates]]:
    for start, rates in entry.tiers:
        yield f"{before}input > {_count(start)}", rates


def _of_media(rates: Rates) -> Iterator[tuple[str, Rates]]:
    from spillway.remote.cost import Rates as Prices

    for label, *classes in _MEDIA:
        given = [None if name is None else getattr(rates, name) for name in classes]
        if any(price is not None for price in given):
            into, cached, out = given
            yield (
                label,
                Prices(
                    input=rates.input if into is None else into,
                    cached_input=cached,
                    output=rates.output if out is None else out,
                ),
            )


def _prices(rates: Rates) -> tuple[str, ...]:
    writes = (rates.cache_write, rates.cache_write_1h)
    written = [_usd(price) for price in writes if price is not None]
    cached = "-" if rates.cached_input is None else _usd(rates.cached_input)
    return _usd(rates.input), cached, "/".join(written) or "-", _usd(rates.output)


def _usd(pico: int) -> str:
    from spillway.remote.cost import pico_to_usd

    return f"{pico_to_usd(pico):.10f}".rstrip("0").rstrip(".")


def _count(tokens: int | None) -> str:
    if tokens is None:
        return "?"
    if tokens >= 1_000_000:
        return f"{tokens / 1e6:.3g}M"
    return f"{tokens / 1e3:.3g}K" if tokens >= 1_000 else str(tokens)


def _modes(known: KnownModel) -> str:
    def letters(kinds: Sequence[Any]) -> str:
        return "".join(_LETTERS[kind] for kind in kinds) or "?"

    return f"{letters(known.input)}>{letters(known.output)}" if known.input or known.output else "?"
