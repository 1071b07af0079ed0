"""What a model costs: looked up by date, time of day and input size; counted in integers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import msgspec

from spillway.remote.cost.money import pico_to_usd, usd_to_pico

if TYPE_CHECKING:
    from spillway.core.options import Pricing
    from spillway.core.reply import Usage

_MTOK = 1_000_000
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of token classes in pico-USD per million tokens; 0 is free.

    A class that is None is priced as the class it is part of: `cache_write_1h` as `cache_write`, `cached_input` and
    `cache_write` as `input`, `reasoning` as `output`.

    Attributes:
        request: pico-USD per million requests.
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    request: int = 0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= 0):
                raise ValueError(f"{name} must be an integer >= 0, not {value!r}")


class PriceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of a stretch of time.

    Attributes:
        base: the prices up to the first tier.
        tiers: `(start, rates)` in rising order: input of more than `start` tokens has `rates` for all its tokens.
        since: the instant, aware, from which it holds; None: from ever.
        daily: `(start, end)` in UTC between which it holds each day, over midnight when `end` is before `start`.
    """

    base: Rates
    tiers: tuple[tuple[int, Rates], ...] = ()
    since: datetime | None = None
    daily: tuple[time, time] | None = None

    def active(self, when: datetime) -> bool:
        """Return whether it holds at `when`, which is in UTC."""
        if self.since is not None and when < self.since:
            return False
        if self.daily is None:
            return True
        start, end = self.daily
        clock = when.time()
        return start <= clock < end if start <= end else clock >= start or clock < end

    def edges(self, when: datetime) -> Iterator[datetime]:
        """Yield the instants around `when` at which it begins or ceases to hold."""
        if self.since is not None:
            yield self.since
        if self.daily is not None:
            for day in (-1, 0, 1):
                date = (when + timedelta(days=day)).date()
                for edge in self.daily:
                    yield datetime.combine(date, edge, UTC)


class _Tier:
    """The prices of one input size with every class filled in, and the most any class of each direction costs."""

    __slots__ = (
        "cache_write",
        "cache_write_1h",
        "cached",
        "input",
        "output",
        "reasoning",
        "request",
        "start",
        "worst_input",
        "worst_output",
    )

    def __init__(self, start: float, rates: Rates, below: _Tier | None) -> None:
        self.start = start
        self.request = rates.request
        self.input = rates.input
        self.output = rates.output
        self.cached = rates.input if rates.cached_input is None else rates.cached_input
        self.cache_write = rates.input if rates.cache_write is None else rates.cache_write
        self.cache_write_1h = self.cache_write if rates.cache_write_1h is None else rates.cache_write_1h
        self.reasoning = rates.output if rates.reasoning is None else rates.reasoning
        self.worst_input = max(self.input, self.cached, self.cache_write)
        self.worst_output = max(self.output, self.reasoning)
        if below is not None:
            self.worst_input = max(self.worst_input, below.worst_input)
            self.worst_output = max(self.worst_output, below.worst_output)


class PriceTable:
    """The price of a request, at a date and an input size.

    A sum is kept exact over all classes and rounded half up to a whole pico-dollar once.

    Args:
        entries: at least one; of those that hold at an instant the last wins, and the first if none does.
        max_input: the most input tokens the model takes, which bounds every estimate; None: not known.

    Complexity: O(tiers) a request, below 1 µs; O(entries) when an edge between entries was crossed.
    """

    __slots__ = ("_base", "_entries", "_next_start", "_since", "_tiers", "_until", "max_input")

    def __init__(self, entries: Sequence[PriceEntry], *, max_input: int | None = None) -> None:
        if not entries:
            raise ValueError("a price table needs at least one entry")
        self._entries = tuple(entries)
        self.max_input = max_input
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
        replace = msgspec.structs.replace
        entries = [
            replace(
                entry,
                base=replace(entry.base, **rates),
                tiers=tuple((start, replace(tier, **rates)) for start, tier in entry.tiers),
            )
            for entry in self._entries
        ]
        return PriceTable(entries, max_input=self.max_input)

    @property
    def entries(self) -> tuple[PriceEntry, ...]:
        """The entries it was made of."""
        return self._entries

    def entry_at(self, when: datetime) -> PriceEntry:
        """Return the entry that holds at `when`, an aware instant."""
        when = when.astimezone(UTC)
        return next((entry for entry in reversed(self._entries) if entry.active(when)), self._entries[0])

    def cost(self, usage: Usage, when: datetime) -> int:
        """Return the price of `usage` at `when` (aware) in pico-USD; classes larger than their total count in full."""
        if not self._since <= when < self._until:
            self._turn(when)
        total_in, total_out = usage.input_tokens, usage.output_tokens
        tier = self._base if total_in <= self._next_start else self._tier(total_in)
        cached, written, reasoning = usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens
        if cached or written:
            hour = usage.cache_write_1h_tokens
            sum_ = (
                max(total_in - cached - written, 0) * tier.input
                + cached * tier.cached
                + max(written - hour, 0) * tier.cache_write
                + hour * tier.cache_write_1h
            )
        else:
            sum_ = total_in * tier.input
        if reasoning:
            sum_ += max(total_out - reasoning, 0) * tier.output + reasoning * tier.reasoning
        else:
            sum_ += total_out * tier.output
        return (sum_ + tier.request + _MTOK // 2) // _MTOK

    def estimate(self, input_tokens: int, output_tokens: int, when: datetime) -> int:
        """Return the most a request of at most so many tokens costs at `when` (aware), in pico-USD.

        Every token is priced as the dearest class and tier it may fall in; writes to the one-hour cache alone are left
        to the slack of the input bound.
        """
        if not self._since <= when < self._until:
            self._turn(when)
        if self.max_input is not None and input_tokens > self.max_input:
            input_tokens = self.max_input
        tier = self._base if input_tokens <= self._next_start else self._tier(input_tokens)
        exact = input_tokens * tier.worst_input + output_tokens * tier.worst_output + tier.request
        return -(-exact // _MTOK)

    def _tier(self, input_tokens: int) -> _Tier:
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
        below = self._base = _Tier(0, entry.base, None)
        tiers = []
        for start, rates in entry.tiers:
            below = _Tier(start, rates, below)
            tiers.append(below)
        self._tiers = tuple(tiers)
        self._next_start: float = self._tiers[0].start if self._tiers else math.inf

    def __repr__(self) -> str:
        newest = self._entries[-1]
        more = " (tiers or dates)" if newest.tiers or len(self._entries) > 1 else ""
        per_input, per_output = pico_to_usd(newest.base.input), pico_to_usd(newest.base.output)
        return f"<PriceTable {per_input:g} in, {per_output:g} out, USD per Mtok{more}>"


def _rates_of(pricing: Pricing) -> dict[str, int]:
    """Return the prices that are given, in pico-USD, by the names of `Rates`."""
    given = ((name, getattr(pricing, name)) for name in pricing.__struct_fields__)
    return {name.removesuffix("_per_mtok_usd"): usd_to_pico(value) for name, value in given if value is not None}
