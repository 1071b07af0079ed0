"""The state of a ledger, for those who look on."""

from __future__ import annotations

import msgspec


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
        mode: `local`; `shared` with other processes through a store, `store_lost` while that is not reached.
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
    mode: str = "local"
