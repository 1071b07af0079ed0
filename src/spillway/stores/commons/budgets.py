"""The twin of `budgets.lua`: one sync of one process of a budget that several share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from spillway.stores.shared.money import BudgetSync, BudgetTold

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Shelf

GHOST = "~"
"""What others are known to hold of a store that has forgotten them, until they come or are silent for too long."""

GONE_MS = 86_400_000
"""For so long a holder that was silent may come back and have what it did not spend."""

STARVING_MS = 400

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BudgetSync).decode

_Slot = tuple[int, int]


@dataclass(slots=True)
class _Holder:
    held: int = 0
    seen: int = 0
    turn: int = 0
    batch: int = 0
    life: str = ""


@dataclass(slots=True)
class _Book:
    """One budget.

    Attributes:
        base: what was spent before this life of the store, by window and slot; `added`: since.
        bare: whether nobody is known to remember an earlier life.
        kept: the version of the store when this life began; -1: it was empty.
        basis: when what others hold was heard, of all who came and told; the newest counts.
        gone: holders that were silent: what they held, in which fine slot that became spend, and when.
        seeds: what files remember of this store, by journal.
    """

    life: str = ""
    run: str = ""
    born: int = 0
    bare: bool = True
    kept: int = -1
    basis: float = -1.0
    version: int = 0
    starving_until: int = 0
    base: dict[_Slot, int] = field(default_factory=dict)
    added: dict[_Slot, int] = field(default_factory=dict)
    changes: dict[_Slot, int] = field(default_factory=dict)
    holders: dict[str, _Holder] = field(default_factory=dict)
    gone: dict[str, tuple[_Holder, int, int]] = field(default_factory=dict)
    seeds: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    journals: set[str] = field(default_factory=set)

    @property
    def held(self) -> int:
        return sum(holder.held for holder in self.holders.values())

    def committed(self, window: int) -> int:
        return sum(pico for spent in (self.base, self.added) for (number, _), pico in spent.items() if number == window)


def budgets(shelf: Shelf, keys: tuple[str, ...], argument: bytes) -> bytes:
    """Take what a process has spent, give it leases and what others have spent."""
    sync = _decode(argument)
    return _Turn(shelf.value(keys[0], _Book, keep_ms=sync.keep_ms), sync, shelf.now_ms).answer()


class _Turn:
    def __init__(self, book: _Book, sync: BudgetSync, now: int) -> None:
        self._book = book
        self._sync = sync
        self._now = now
        self._fine = math.floor(now / sync.widths_ms[0])
        self._changed: set[_Slot] = set()

    def answer(self) -> bytes:
        book, sync, now = self._book, self._sync, self._now
        self._live()
        self._forget()
        for name, known in list(book.holders.items()):
            if known.seen <= now - sync.silent_ms:
                self._lapse(name)
        arrived = self._arrive()
        if arrived is None:
            return _encode({"late": True})
        holder = arrived
        self._claim(holder)
        if sync.view is not None:
            self._remember(sync.view)
        if sync.batch > holder.batch:
            holder.batch = sync.batch
            for fine, pico in sync.spent:
                self._spend(self._fine if fine < 0 else fine, int(pico))
        self._seed()
        holder.seen = now
        grant = 0 if sync.leaving else self._lease()
        holder.held += grant
        if sync.leaving:
            self._lapse(sync.holder)
            book.gone.pop(sync.holder, None)
        return self._told(grant)

    def _live(self) -> None:
        """Begin another life of a store that is empty or was restarted."""
        book, run = self._book, self._sync.run
        if book.life and book.run == run:
            return
        book.bare = not book.life
        book.kept, book.basis = -1 if book.bare else book.version, -1.0
        for slot, pico in book.added.items():
            book.base[slot] = book.base.get(slot, 0) + pico
        book.added.clear()
        book.seeds.clear()
        book.life, book.run, book.born = f"{run}:{self._now}", run, self._now

    @property
    def _ready_in(self) -> int:
        return max(0, self._book.born + self._sync.settle_ms - self._now)

    def _forget(self) -> None:
        """Drop what has left its window, and who is gone for long."""
        book = self._book
        for slot in [slot for slot in book.changes if not self._counts(slot)]:
            del book.changes[slot]
            book.base.pop(slot, None)
            book.added.pop(slot, None)
        for name in [name for name, (_, _, at) in book.gone.items() if at <= self._now - GONE_MS]:
            del book.gone[name]

    def _counts(self, slot: _Slot) -> bool:
        number, index = slot
        width, slots = self._sync.widths_ms[number - 1], self._sync.slots[number - 1]
        return index >= math.floor(self._now / width) - slots

    def _slots_of(self, fine: int) -> list[_Slot]:
        """Return the slots of all windows that a fine slot belongs to and that have not left them."""
        widths = self._sync.widths_ms
        at = min(fine, self._fine) * widths[0]
        found = [(number, math.floor(at / width)) for number, width in enumerate(widths, 1)]
        return [slot for slot in found if self._counts(slot)]

    def _spend(self, fine: int, pico: int) -> None:
        added = self._book.added
        for slot in self._slots_of(fine) if pico else ():
            added[slot] = added.get(slot, 0) + pico
            self._changed.add(slot)

    def _lapse(self, name: str) -> None:
        """Take what a holder held as spent now."""
        book = self._book
        holder = book.holders.pop(name)
        self._spend(self._fine, holder.held)
        if name != GHOST:
            book.gone[name] = holder, self._fine, self._now

    def _arrive(self) -> _Holder | None:
        """Return the holder, with what it held when it was lost from sight; None for a sync that comes too late."""
        book, sync = self._book, self._sync
        holder = book.holders.get(sync.holder)
        if holder is None:
            gone = book.gone.get(sync.holder)
            holder = _Holder() if gone is None else gone[0]
            if sync.turn <= holder.turn:
                return None
            if gone is not None:
                del book.gone[sync.holder]
                self._take_back(gone[1], holder.held)
            book.holders[sync.holder] = holder
        if sync.turn <= holder.turn:
            return None
        holder.turn = sync.turn
        return holder

    def _take_back(self, fine: int, pico: int) -> None:
        for slot in self._slots_of(fine) if pico else ():
            rest = pico
            for spent in (self._book.added, self._book.base):
                less = min(rest, spent.get(slot, 0))
                if less:
                    spent[slot] -= less
                    rest -= less
            self._changed.add(slot)

    def _claim(self, holder: _Holder) -> None:
        """Have it hold what it says it does; what it first says in a life was perhaps known from others."""
        book, held = self._book, int(self._sync.held)
        more = held - holder.held
        ghost = book.holders.get(GHOST)
        if holder.life != book.life:
            holder.life = book.life
            if ghost is not None and more > 0:
                ghost.held -= min(ghost.held, more)
        holder.held = held

    def _remember(self, view: list[tuple[int, int, str]]) -> None:
        """Have at least what somebody remembers of earlier lives count, unless the store itself remembers as much."""
        book, sync = self._book, self._sync
        book.bare = False
        if sync.view_at <= book.kept:
            return
        book.version = max(book.version, sync.view_at)
        for number, index, pico in view:
            slot = number, index
            if self._counts(slot) and int(pico) > book.base.get(slot, 0):
                book.base[slot] = int(pico)
                self._changed.add(slot)
        if sync.heard_at > book.basis:
            book.basis = sync.heard_at
            known = sum(h.held for name, h in book.holders.items() if name not in {GHOST, sync.holder})
            missing = int(sync.others) - known
            ghost = book.holders.get(GHOST)
            if missing > 0 or ghost is not None:
                if ghost is None:
                    ghost = book.holders[GHOST] = _Holder(seen=self._now)
                ghost.held = max(0, missing)

    def _seed(self) -> None:
        """Count what files remember of a store that nobody else does, each file once."""
        book, sync = self._book, self._sync
        if sync.past and sync.journal:
            rows = [(self._now - age, int(pico)) for age, pico in sync.past]
            width = sync.widths_ms[0]
            book.seeds[sync.journal] = [(math.floor(at / width), pico) for at, pico in rows if at <= book.born]
        if self._ready_in or not book.seeds:
            return
        for journal, spent in book.seeds.items():
            if book.bare and journal not in book.journals:
                book.journals.add(journal)
                for fine, pico in spent:
                    self._spend(fine, pico)
        book.seeds.clear()

    def _lease(self) -> int:
        book, sync = self._book, self._sync
        need, want = int(sync.need), int(sync.want)
        caps = [int(cap) - book.committed(number) for number, cap in enumerate(sync.caps, 1) if cap]
        if self._ready_in or want <= 0 or not caps:
            return 0
        room = min(caps)
        free = room - book.held
        if need > free:
            own = book.holders[sync.holder].held
            if need <= room - own:
                book.starving_until = self._now + STARVING_MS
            return 0
        share = 0 if book.starving_until > self._now else max(0, free) // (2 * len(book.holders))
        return max(need, min(want, share))

    def _told(self, grant: int) -> bytes:
        book, sync = self._book, self._sync
        if self._changed:
            book.version += 1
            for slot in self._changed:
                book.changes[slot] = book.version
        told = [
            (*slot, str(book.base.get(slot, 0) + book.added.get(slot, 0)))
            for slot, version in book.changes.items()
            if version > sync.since
        ]
        return _encode(
            BudgetTold(
                now=self._now,
                life=book.life,
                version=book.version,
                ready_in=self._ready_in,
                told=told,
                held=str(book.held),
                grant=str(grant),
                starving=book.starving_until > self._now,
            )
        )
