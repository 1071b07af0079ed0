"""Prices of token classes, and the stretch of time that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import msgspec


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of token classes in pico-USD per million tokens; 0 is free.

    A class that is None is priced as the class it is part of: `cache_write_1h` as `cache_write`; `cached_input`,
    `cache_write` and the input of each medium as `input`; `reasoning` and the output of each medium as `output`.
    A medium's cached input is priced as its input when nothing cached has a price, else as `cached_input`.

    Attributes:
        request: pico-USD per million requests.
        web_search: pico-USD per million searches of the web.
    """

    input: int = 0
    output: int = 0
    cached_input: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    image_input: int | None = None
    video_input: int | None = None
    cached_audio: int | None = None
    cached_image: int | None = None
    audio_output: int | None = None
    image_output: int | None = None
    request: int = 0
    web_search: int = 0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and value >= 0):
                raise ValueError(f"{name} must be an integer >= 0, not {value!r}")

    @property
    def knows_media(self) -> bool:
        """Whether audio, images or video have a price of their own."""
        own = (self.audio_input, self.image_input, self.video_input, self.cached_audio, self.cached_image)
        return any(rate is not None for rate in (*own, self.audio_output, self.image_output))


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


class Tier:
    """The prices of one input size with every class filled in, and the most any class of each direction costs.

    Attributes:
        media: `(input, cached)` of audio, image and video.
        media_output: audio and image.
        worst_media: the most that input with media costs, `worst_input` without.
    """

    __slots__ = (
        "cache_write",
        "cache_write_1h",
        "cached",
        "input",
        "media",
        "media_output",
        "output",
        "reasoning",
        "request",
        "start",
        "web_search",
        "worst_input",
        "worst_media",
        "worst_output",
    )

    def __init__(self, start: float, rates: Rates, below: Tier | None) -> None:
        self.start = start
        self.request = rates.request
        self.web_search = rates.web_search
        self.input = rates.input
        self.output = rates.output
        self.cached = rates.input if rates.cached_input is None else rates.cached_input
        self.cache_write = rates.input if rates.cache_write is None else rates.cache_write
        self.cache_write_1h = self.cache_write if rates.cache_write_1h is None else rates.cache_write_1h
        self.reasoning = rates.output if rates.reasoning is None else rates.reasoning
        self.media = (
            self._medium(rates, rates.audio_input, rates.cached_audio),
            self._medium(rates, rates.image_input, rates.cached_image),
            self._medium(rates, rates.video_input, None),
        )
        self.media_output = tuple(
            rates.output if rate is None else rate for rate in (rates.audio_output, rates.image_output)
        )
        self.worst_input = max(self.input, self.cached, self.cache_write)
        self.worst_media = max(self.worst_input, *(max(pair) for pair in self.media))
        self.worst_output = max(self.output, self.reasoning, *self.media_output)
        if below is not None:
            self.worst_input = max(self.worst_input, below.worst_input)
            self.worst_media = max(self.worst_media, below.worst_media)
            self.worst_output = max(self.worst_output, below.worst_output)

    def _medium(self, rates: Rates, own: int | None, cached: int | None) -> tuple[int, int]:
        price = self.input if own is None else own
        if cached is None:
            cached = price if rates.cached_input is None else self.cached
        return price, cached
