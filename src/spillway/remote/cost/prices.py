"""What a model costs: looked up by service, date, time of day and input size; counted in integers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from spillway.remote.cost.money import pico_to_usd, usd_to_pico
from spillway.remote.cost.rates import PriceEntry, Rates, Tier

if TYPE_CHECKING:
    from spillway.core.options import Pricing
    from spillway.core.reply import Usage

_MTOK = 1_000_000
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class PriceTable:
    """The price of a request, at a date and an input size.

    A sum is kept exact over all classes and rounded half up to a whole pico-dollar once.

    Args:
        entries: at least one; of those that hold at an instant the last wins, and the first if none does.
        max_input: the most input tokens the model takes, which bounds every estimate; None: not known.
        services: entries of services that have prices of their own, such as `flex` and `priority`, by name.

    Attributes:
        knows_media: whether audio, images or video have a price of their own.

    Complexity: O(tiers) a request, below 1 µs; O(entries) when an edge between entries was crossed.
    """

    __slots__ = (
        "_base",
        "_entries",
        "_next_start",
        "_since",
        "_tiers",
        "_until",
        "knows_media",
        "max_input",
        "services",
    )

    def __init__(
        self,
        entries: Sequence[PriceEntry],
        *,
        max_input: int | None = None,
        services: Mapping[str, Sequence[PriceEntry]] | None = None,
    ) -> None:
        if not entries:
            raise ValueError("a price table needs at least one entry")
        self._entries = tuple(entries)
        self.max_input = max_input
        self.services: Mapping[str, PriceTable] = {
            name: PriceTable(own, max_input=max_input) for name, own in (services or {}).items()
        }
        self.knows_media = any(
            rates.knows_media for entry in self._entries for rates in (entry.base, *(tier for _, tier in entry.tiers))
        )
        self._since = self._until = _FIRST
        self._enter(self._entries[0])
        if len(self._entries) == 1:
            self._since, self._until = _FIRST, _LAST

    @classmethod
    def from_pricing(cls, pricing: Pricing) -> PriceTable:
        """Return the table of a `[deployment.pricing]` that is whole."""
        return cls([PriceEntry(base=Rates(**_rates_of(pricing)))])

    def with_pricing(self, pricing: Pricing) -> PriceTable:
        """Return this table with the prices of a `[deployment.pricing]` in the place of its own, at all times."""
        rates = _rates_of(pricing)
        services = {name: _replaced(table.entries, rates) for name, table in self.services.items()}
        return PriceTable(_replaced(self._entries, rates), max_input=self.max_input, services=services)

    @property
    def entries(self) -> tuple[PriceEntry, ...]:
        """The entries it was made of."""
        return self._entries

    @property
    def is_dated(self) -> bool:
        """Whether the price of a request may depend on its instant."""
        return len(self._entries) > 1

    def entry_at(self, when: datetime) -> PriceEntry:
        """Return the entry that holds at `when`, an aware instant."""
        when = when.astimezone(UTC)
        return next((entry for entry in reversed(self._entries) if entry.active(when)), self._entries[0])

    def of_service(self, name: str | None) -> PriceTable:
        """Return the prices of a service; those of the standard one when it has none of its own."""
        return self if name is None else self.services.get(name, self)

    def cost(self, usage: Usage, when: datetime) -> int:
        """Return the price of `usage` at `when` (aware) in pico-USD; classes larger than their total count in full."""
        if not self._since <= when < self._until:
            self._turn(when)
        total_in, total_out = usage.input_tokens, usage.output_tokens
        tier = self._base if total_in <= self._next_start else self._tier(total_in)
        cached, written, reasoning = usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
        if self.knows_media:
            sum_ = _input_with_media(usage, tier) + _output_with_media(usage, tier)
            return (sum_ + usage.web_searches * tier.web_search + tier.request + _MTOK // 2) // _MTOK
        if cached or written:
            sum_ = max(total_in - cached - written, 0) * tier.input + cached * tier.cached
            sum_ += _written(usage, tier) if written else 0
        else:
            sum_ = total_in * tier.input
        if reasoning:
            sum_ += max(total_out - reasoning, 0) * tier.output + reasoning * tier.reasoning
        else:
            sum_ += total_out * tier.output
        if usage.web_searches:
            sum_ += usage.web_searches * tier.web_search
        return (sum_ + tier.request + _MTOK // 2) // _MTOK

    def estimate(
        self,
        input_tokens: int,
        output_tokens: int,
        when: datetime,
        *,
        service: str | None = None,
        media: bool = False,
    ) -> int:
        """Return the most a request of at most so many tokens costs at `when` (aware), in pico-USD.

        Every token is priced as the dearest class and tier it may fall in; writes to the one-hour cache alone are left
        to the slack of the input bound. Searches of the web are not bounded.

        Args:
            service: what it asks for; the standard service may serve it instead, so the dearer of both counts.
            media: whether its input may hold audio, images or video.
        """
        if service is not None and (own := self.services.get(service)) is not None:
            return max(
                own.estimate(input_tokens, output_tokens, when, media=media),
                self.estimate(input_tokens, output_tokens, when, media=media),
            )
        if not self._since <= when < self._until:
            self._turn(when)
        if self.max_input is not None and input_tokens > self.max_input:
            input_tokens = self.max_input
        tier = self._base if input_tokens <= self._next_start else self._tier(input_tokens)
        worst = tier.worst_media if media else tier.worst_input
        exact = input_tokens * worst + output_tokens * tier.worst_output + tier.request
        return -(-exact // _MTOK)

    def _tier(self, input_tokens: int) -> Tier:
        chosen = self._base
        for tier in self._tiers:
            if input_tokens <= tier.start:
                break
            chosen = tier
        return chosen

    def _turn(self, when: datetime) -> None:
        """Make the entry current that holds at `when`, until the next edge."""
        when = when.astimezone(UTC)
        edges = [edge for entry in self._entries for edge in entry.edges(when)]
        self._since = max((edge for edge in edges if edge <= when), default=_FIRST)
        self._until = min((edge for edge in edges if edge > when), default=_LAST)
        self._enter(self.entry_at(when))

    def _enter(self, entry: PriceEntry) -> None:
        below = self._base = Tier(0, entry.base, None)
        tiers = []
        for start, rates in entry.tiers:
            below = Tier(start, rates, below)
            tiers.append(below)
        self._tiers = tuple(tiers)
        self._next_start: float = self._tiers[0].start if self._tiers else math.inf

    def __repr__(self) -> str:
        newest = self._entries[-1]
        more = " (tiers or dates)" if newest.tiers or len(self._entries) > 1 else ""
        per_input, per_output = pico_to_usd(newest.base.input), pico_to_usd(newest.base.output)
        return f"<PriceTable {per_input:g} in, {per_output:g} out, USD per Mtok{more}>"


def _written(usage: Usage, tier: Tier) -> int:
    hour = usage.cache_write_1h_tokens
    return max(usage.cache_write_tokens - hour, 0) * tier.cache_write + hour * tier.cache_write_1h


def _input_with_media(usage: Usage, tier: Tier) -> int:
    """Return the price of the input, each token as the finest class it belongs to."""
    cached, written = usage.cached_tokens, usage.cache_write_tokens
    fresh = usage.input_tokens - cached - written
    sum_ = _written(usage, tier)
    counts = (
        (usage.audio_input_tokens, usage.cached_audio_tokens),
        (usage.image_input_tokens, usage.cached_image_tokens),
        (usage.video_input_tokens, 0),
    )
    for (whole, kept), (price, cached_price) in zip(counts, tier.media, strict=True):
        new = max(whole - kept, 0)
        fresh -= new
        cached -= kept
        sum_ += new * price + kept * cached_price
    return sum_ + max(fresh, 0) * tier.input + max(cached, 0) * tier.cached


def _output_with_media(usage: Usage, tier: Tier) -> int:
    audio, image, reasoning = usage.audio_output_tokens, usage.image_output_tokens, usage.reasoning_tokens
    audio_price, image_price = tier.media_output
    text = max(usage.output_tokens - audio - image - reasoning, 0)
    return text * tier.output + reasoning * tier.reasoning + audio * audio_price + image * image_price


def _replaced(entries: Sequence[PriceEntry], rates: Mapping[str, int]) -> list[PriceEntry]:
    replace = msgspec.structs.replace
    return [
        replace(
            entry,
            base=replace(entry.base, **rates),
            tiers=tuple((start, replace(tier, **rates)) for start, tier in entry.tiers),
        )
        for entry in entries
    ]


def _rates_of(pricing: Pricing) -> dict[str, int]:
    """Return the prices that are given, in pico-USD, by the names of `Rates`."""
    given = ((name, getattr(pricing, name)) for name in pricing.__struct_fields__)
    return {name.removesuffix("_per_mtok_usd"): usd_to_pico(value) for name, value in given if value is not None}
