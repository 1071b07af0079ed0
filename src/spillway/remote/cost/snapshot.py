"""The state of a ledger, for those who look on."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

BudgetMode = Literal["local", "shared", "store_lost"]
"""How a budget is held now.

    local       by this process alone
    shared      over all that share the store
    store_lost  the store is lost: this process spends what it has leased, then nothing
"""

LOCAL: Final = "local"
SHARED: Final = "shared"
STORE_LOST: Final = "store_lost"
BUDGET_MODES: tuple[BudgetMode, ...] = (LOCAL, SHARED, STORE_LOST)

STORE_LOST_MEANS: Final = "the store is lost: what was leased from it is spent, then nothing until it answers"


class WindowSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One cap and what counts against it.

    Attributes:
        frees_in_s: seconds until some of what is committed leaves the window; None when nothing is.
    """

    name: str
    cap_pico: int
    committed_pico: int
    frees_in_s: float | None


class LedgerSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a ledger; money in pico-USD.

    Attributes:
        spent_pico: everything settled and charged since it was made.
        reserved_pico: what open reservations hold.
        requests: settled reservations.
        open: open reservations.
        overruns: settlements above what had been reserved, by `overrun_pico` in all.
        elsewhere_pico: what other processes hold of a budget that they share, as of the last that was heard.
        mode: how it is held now.
    """

    spent_pico: int
    reserved_pico: int
    requests: int
    open: int
    overruns: int
    overrun_pico: int
    on_exceeded: str
    windows: tuple[WindowSnapshot, ...]
    elsewhere_pico: int = 0
    mode: BudgetMode = LOCAL
