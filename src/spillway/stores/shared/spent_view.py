"""What one process knows to be spent of a shared budget: what the store has counted, and what that does not know yet.

Spend is kept by fine slots, `{slot: pico-USD}`; `NOW` stands for the present, before the store's time is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spillway.remote.cost.window import SpendWindow
from spillway.stores.shared.money import FINEST_S, WIDTHS_S

NOW = -1

Spent = dict[int, int]
Rows = list[tuple[int, int, str]]


def known(windows: Sequence[SpendWindow], now: float, *unheard: Spent) -> Rows:
    """Return `(window, slot, amount)` of everything that the store is known to have counted."""
    found: Rows = []
    for at, window in enumerate(windows):
        own = _by_slot(at, now, unheard)
        found += [
            (at + 1, slot, str(pico - own.get(slot, 0))) for slot, pico in window.filled() if pico > own.get(slot, 0)
        ]
    return found


def begin(windows: Sequence[SpendWindow], now: float, unheard: Spent) -> None:
    """Have windows that were kept by another clock hold, by the store's, what it does not know yet."""
    for at, window in enumerate(windows):
        window.advance(now)
        for slot, pico in _by_slot(at, now, (unheard,)).items():
            window.put(slot, pico)


def take_out(windows: Sequence[SpendWindow], now: float, told: Spent) -> None:
    """Take what was told out: the store has counted it, and says in which slot."""
    for at, window in enumerate(windows):
        window.advance(now)
        for slot, pico in _by_slot(at, now, (told,)).items():
            window.put(slot, max(0, window.held_by(slot) - pico))


def hear(windows: Sequence[SpendWindow], now: float, rows: Rows, unheard: Spent) -> None:
    """Put what the store has counted in place of what was known of it; what it does not know is on top."""
    own = [_by_slot(at, now, (unheard,)) for at in range(len(windows))]
    for number, slot, pico in rows:
        windows[number - 1].put(slot, int(pico) + own[number - 1].get(slot, 0))


def _by_slot(at: int, now: float, spent: Sequence[Spent]) -> Spent:
    """Return what was spent by the slots of the window at `at`."""
    found: Spent = {}
    width = WIDTHS_S[at]
    for amounts in spent:
        for fine, pico in amounts.items():
            slot = math.floor((now if fine == NOW else fine * FINEST_S) / width)
            found[slot] = found.get(slot, 0) + pico
    return found
