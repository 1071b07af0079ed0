"""Prompt caching: what of an input was read from a cache and what was written, by the marks alone.

A mark before the last assistant message was there when that was written, so what stands before it is read. What follows
up to the last mark is written, at the rate of the mark that ends it. The rest is plain input.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from spillway.sim.ask import BadAsk

MOST_MARKS = 4
_TTLS = frozenset({"5m", "1h"})


class Piece(msgspec.Struct):
    """A stretch of an input: its tokens, the `cache_control` that ends it, whether an answer came after it."""

    tokens: int
    mark: object = None
    answered: bool = False


class Cached(msgspec.Struct, frozen=True):
    """Tokens of an input that were read from a cache, or written to one for five minutes or an hour."""

    read: int = 0
    five_minutes: int = 0
    hour: int = 0

    @property
    def written(self) -> int:
        """Tokens written, for however long."""
        return self.five_minutes + self.hour


def cached(pieces: Sequence[Piece]) -> Cached:
    """Return what the marks of an input mean; raises `BadAsk` for more than four, or a shorter one before a longer."""
    marked = [piece for piece in pieces if piece.mark is not None]
    if len(marked) > MOST_MARKS:
        raise BadAsk(
            f"A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {len(marked)}.",
            param="cache_control",
        )
    tokens, read, five_minutes, hour = 0, 0, 0, 0
    shorter = False
    for piece in pieces:
        tokens += piece.tokens
        if piece.mark is None:
            continue
        ttl = _ttl(piece.mark)
        if ttl == "1h" and shorter:
            raise BadAsk("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")
        shorter = shorter or ttl == "5m"
        if piece.answered:
            read += tokens
        elif ttl == "1h":
            hour += tokens
        else:
            five_minutes += tokens
        tokens = 0
    return Cached(read, five_minutes, hour)


def _ttl(mark: object) -> str:
    if not isinstance(mark, dict) or mark.get("type") != "ephemeral" or mark.get("ttl", "5m") not in _TTLS:
        raise BadAsk("cache_control: Input should be of type 'ephemeral' with a ttl of '5m' or '1h'")
    ttl: str = mark.get("ttl", "5m")
    return ttl
