"""What a holder of leases and their store tell each other; times in milliseconds."""

from __future__ import annotations

from typing import TypeVar

import msgspec

Item = TypeVar("Item")


class LeaseAsk(msgspec.Struct, kw_only=True, gc=False):
    """One kind of amount that is limited.

    Attributes:
        kind: its place in `KINDS`.
        ceiling: the most in any minute.
        burst_ceiling: the most in any burst's span.
        claim: taken and not sent, by a holder whose name is new to the store.
        gone: of what is held, sent or given back.
        need: without so much the whole is refused.
        want: so much would spare another sync; at least `need`.
    """

    kind: int
    ceiling: int
    burst_ceiling: int
    claim: int
    gone: int
    need: int
    want: int


class LeaseReport(msgspec.Struct, kw_only=True):
    """One sync of one holder.

    Attributes:
        holder: its name, of one life of one process and not longer than the store knows it.
        number: of this report among the holder's; one that comes again changes nothing.
        run: the id of the store's life.
        met: the holder's last sync was with this life.
        known: the holder has been answered under this name.
        leaving: it ends, and gives everything back.
        lapse_ms: after so much silence a holder is taken for dead.
        keep_ms: how long the store keeps what nobody asks for.
        burst_ms: 0: there is no such window.
        pressed_ms: how long after a refusal all are asked to give back what they can spare.
        blocked_ms: how long the provider wants nothing from now on.
        cut: the provider said that it was too much.
        concurrent: how many may be under way; 0: any number.
        seats_claimed: those under way, as `claim`.
        sent: for each time of sending its age and what was sent, of each kind.
        given: kind, amount and slots of what came to less than was sent.
    """

    holder: str
    number: int
    run: str
    met: bool
    known: bool
    leaving: bool
    window_ms: int
    width_ms: float
    burst_ms: int
    burst_width_ms: float
    lapse_ms: int
    keep_ms: int
    pressed_ms: int
    blocked_ms: int
    cut: bool
    concurrent: int
    seats_claimed: int
    seats_gone: int
    seats_needed: int
    seats_wanted: int
    sent: list[list[int]]
    given: list[tuple[int, ...]]
    parts: list[LeaseAsk]


Listed = list[Item] | dict[str, int]
"""A list; an empty one of Lua's comes as an empty map."""


class LeaseAnswer(msgspec.Struct, kw_only=True):
    """What the store answers.

    Attributes:
        lapsed: the store has taken the holder for dead, or knows nothing of it: its leases are void.
        closed_in: for how long nobody is let through, because the store may have forgotten something.
        blocked_in: for how long the provider wants nothing.
        cuts: how often a provider has said that it was too much.
        wait: when what was needed would fit; -1: when something is given back.
        granted: for each part of the report.
        seats: granted.
        slots: where each of `sent` was counted: of the minute, and of the burst if there is that window.
        used: sent, and still in the minute, for each part of the report.
        held: by all holders, likewise.
        in_flight: seats of all holders.
        holders: that are alive.
        pressed: somebody lacks what another may spare.
    """

    lapsed: bool
    closed_in: float
    blocked_in: float
    cuts: int
    wait: float
    granted: Listed[int]
    seats: int
    slots: Listed[tuple[int, ...]]
    used: Listed[int]
    held: Listed[int]
    in_flight: int
    holders: int
    pressed: bool


def listed(packed: Listed[Item]) -> list[Item]:
    """Return a Lua table as a list."""
    return packed if isinstance(packed, list) else []
