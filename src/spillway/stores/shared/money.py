"""What one sync of a shared budget says, and what it is answered; see `budgets.lua`.

Money travels as decimal digits: a number of Lua's is exact to 9,007 USD only. Times are milliseconds of the store.
"""

from __future__ import annotations

import msgspec

from spillway.remote.cost.caps import WINDOWS

WIDTHS_S = tuple(width for _, width, _ in WINDOWS)
SLOTS = tuple(slots for _, _, slots in WINDOWS)

FINEST_S = WIDTHS_S[0]
"""Seconds of the slots in which spend is told; those of every window are so many of them."""


SETTLE_S = 1.25
"""Seconds in which a store that is new leases nothing, while all tell it what they know."""


class BudgetSync(msgspec.Struct, kw_only=True):
    """What a process says and asks.

    Attributes:
        turn: rises with each sync of a holder; an older one that arrives late is not heard.
        life: of the store, as it was last heard; empty: never.
        caps: of the windows; empty: none.
        held: what the holder has left of its leases once `spent` is counted.
        batch: the number of `spent`, which is counted once however often it is told.
        spent: `(fine slot, amount)`.
        need: what somebody waits for.
        want: that, and what is likely needed soon.
        view: `(window, slot, amount)` of everything that is known to be spent; told to a store that has another life.
        view_at: the version that it was known at.
        others: what others held when the store was last heard, which was at `heard_at` of its time.
        journal: the id of the file that `past` comes from.
        past: `(age, amount)` of what this process alone has spent in earlier lives.
    """

    holder: str
    run: str
    turn: int
    life: str
    leaving: bool
    silent_ms: int
    caps: list[str]
    held: str
    batch: int
    spent: list[tuple[int, str]]
    need: str
    want: str
    since: int
    widths_ms: list[int] = msgspec.field(default_factory=lambda: [round(width * 1000) for width in WIDTHS_S])
    slots: list[int] = msgspec.field(default_factory=lambda: list(SLOTS))
    settle_ms: int = round(SETTLE_S * 1000)
    keep_ms: int = 32 * 86_400_000
    view: list[tuple[int, int, str]] | None = None
    view_at: int = -1
    others: str = "0"
    heard_at: float = -1.0
    journal: str = ""
    past: list[tuple[float, str]] | None = None


class BudgetTold(msgspec.Struct, kw_only=True):
    """What the store answers.

    Attributes:
        life: changes when the store was emptied, or restarted.
        ready_in: until then nothing is leased, so that all may tell a new store what they know.
        told: `(window, slot, amount)` of what has changed since the version that was named.
        held: what all hold, this one included.
        grant: what is leased.
        starving: whether somebody waits for what others have left.
    """

    now: float
    life: str
    version: int
    ready_in: float
    told: list[tuple[int, int, str]] | dict[str, str]
    held: str
    grant: str
    starving: bool
