"""The twin of `limits.lua`: one sync of one holder of one key's limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from spillway.stores.shared.lease_messages import LeaseAnswer, LeaseAsk, LeaseReport

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Shelf

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LeaseReport).decode


@dataclass(slots=True)
class _Holder:
    """What one holder has, and what it was answered last."""

    seen: int = 0
    number: int = 0
    held: list[int] = field(default_factory=lambda: [0] * 4)
    seats: int = 0
    slots: list[tuple[int, ...]] = field(default_factory=list)
    granted: list[int] = field(default_factory=list)
    seated: int = 0


class _Window:
    """What was sent by sub-slot; a slot leaves with the guard slot that follows it."""

    def __init__(self, span_ms: float, width_ms: float) -> None:
        self.span_ms = span_ms
        self.width_ms = width_ms
        self.slots: dict[int, list[int]] = {}
        self.sums = [0] * 4
        self._first = 0

    def expire(self, now: int) -> None:
        self._first = math.floor((now - self.span_ms) / self.width_ms) - 1
        for slot in [slot for slot in self.slots if slot < self._first]:
            for kind, amount in enumerate(self.slots.pop(slot)):
                self.sums[kind] -= amount

    def count(self, kind: int, amount: int, at: int) -> int:
        slot = math.floor(at / self.width_ms)
        if amount and slot >= self._first:
            self.slots.setdefault(slot, [0] * 4)[kind] += amount
            self.sums[kind] += amount
        return slot

    def give_back(self, kind: int, amount: int, slot: int) -> None:
        there = self.slots.get(slot)
        if there is not None:
            less = min(there[kind], amount)
            there[kind] -= less
            self.sums[kind] -= less

    def free_in(self, kind: int, amount: int, now: int) -> int:
        gone = 0
        for slot in sorted(self.slots):
            gone += self.slots[slot][kind]
            if gone >= amount:
                return max(0, math.ceil((slot + 2) * self.width_ms + self.span_ms) - now)
        return 0


@dataclass(slots=True)
class _Limits:
    """All that is known of one key."""

    life: str = ""
    born: int = 0
    last: int = 0
    blocked: int = 0
    cuts: int = 0
    seats: int = 0
    pressed: int = 0
    held: list[int] = field(default_factory=lambda: [0] * 4)
    minute: _Window | None = None
    burst: _Window | None = None
    holders: dict[str, _Holder] = field(default_factory=dict)


def limits(shelf: Shelf, keys: tuple[str, ...], argument: bytes) -> bytes:
    """Take a holder's report, give it leases."""
    report = _decode(argument)
    now = shelf.now_ms
    known = shelf.value(keys[0], _Limits, keep_ms=report.keep_ms)
    life = f"{report.run} {report.window_ms}"
    if known.life != life or now < known.last - report.window_ms:
        up_ms = 0 if known.life or report.met else shelf.up_ms
        for name in _Limits.__slots__:
            setattr(known, name, getattr(_Limits(life=life, born=now - up_ms), name))
    known.last = now = max(now, known.last)
    return _encode(_Sync(known, report, now).run())


class _Sync:
    """One report on its way through."""

    def __init__(self, known: _Limits, report: LeaseReport, now: int) -> None:
        self._known = known
        self._report = report
        self._now = now
        if known.minute is None:
            known.minute = _Window(report.window_ms, report.width_ms)
        if report.burst_ms != (0 if known.burst is None else known.burst.span_ms):
            carried = [0] * 4 if known.burst is None else known.burst.sums
            known.burst = _Window(report.burst_ms, report.burst_width_ms) if report.burst_ms else None
            if known.burst is not None:
                for kind, amount in enumerate(carried):
                    known.burst.count(kind, amount, now)
        self._windows = [known.minute] if known.burst is None else [known.minute, known.burst]
        for window in self._windows:
            window.expire(now)
        self._wait = 0
        self._fits = True

    def run(self) -> LeaseAnswer:
        known, report, now = self._known, self._report, self._now
        for name in [name for name, one in known.holders.items() if one.seen <= now - report.lapse_ms]:
            self._end_holder(name)
        holder = known.holders.get(report.holder)
        lapsed = report.known and holder is None
        again = holder is not None and holder.number >= report.number
        holder = holder or _Holder()
        if not again:
            self._take_report(holder, lapsed=lapsed)
        if not lapsed:
            holder.seen = now
            known.holders[report.holder] = holder
        closed_in = max(0, known.born + report.window_ms + report.lapse_ms - now)
        blocked_in = max(0, known.blocked - now)
        if not (again or lapsed or report.leaving or closed_in or blocked_in):
            self._grant(holder)
        answer = LeaseAnswer(
            lapsed=lapsed,
            closed_in=closed_in,
            blocked_in=blocked_in,
            cuts=known.cuts,
            wait=self._wait,
            granted=list(holder.granted),
            seats=holder.seated,
            slots=list(holder.slots),
            used=[self._windows[0].sums[part.kind] for part in report.parts],
            held=[known.held[part.kind] for part in report.parts],
            in_flight=known.seats,
            holders=len(known.holders),
            pressed=now < known.pressed,
        )
        if report.leaving:
            self._end_holder(report.holder)
        return answer

    def _end_holder(self, name: str) -> None:
        holder = self._known.holders.pop(name, None)
        if holder is None:
            return
        for kind, amount in enumerate(holder.held):
            self._known.held[kind] -= amount
            self._count(kind, amount, 0)
        self._known.seats -= holder.seats

    def _take_report(self, holder: _Holder, *, lapsed: bool) -> None:
        known, report = self._known, self._report
        holder.number, holder.granted, holder.seated = report.number, [], 0
        holder.slots = [
            [self._count(kind, amount, age) for kind, amount in enumerate(amounts)][-1] for age, *amounts in report.sent
        ]
        for kind, amount, *slots in report.given:
            for window, slot in zip(self._windows, slots, strict=False):
                window.give_back(kind, amount, slot)
        if not lapsed:
            for part in report.parts:
                self._hold(holder, part.kind, part.claim - part.gone)
            self._seat(holder, report.seats_claimed - report.seats_gone)
        known.cuts += report.cut
        if report.blocked_ms > 0:
            known.blocked = max(known.blocked, self._now + report.blocked_ms)

    def _count(self, kind: int, amount: int, age: int) -> tuple[int, ...]:
        return tuple(window.count(kind, amount, self._now - age) for window in self._windows)

    def _hold(self, holder: _Holder, kind: int, amount: int) -> None:
        holder.held[kind] += amount
        self._known.held[kind] += amount

    def _seat(self, holder: _Holder, amount: int) -> None:
        holder.seats += amount
        self._known.seats += amount

    def _grant(self, holder: _Holder) -> None:
        known, report = self._known, self._report
        rooms = [self._room_for(part) for part in report.parts]
        left = report.concurrent - known.seats
        if report.seats_needed > 0 and left < report.seats_needed:
            self._must_wait(-1)
        if not self._fits:
            known.pressed = self._now + report.pressed_ms
            return
        others = len(known.holders)
        for part, room in zip(report.parts, rooms, strict=True):
            granted = _share(part.need, part.want, room, others)
            holder.granted.append(granted)
            self._hold(holder, part.kind, granted)
        holder.seated = _share(report.seats_needed, report.seats_wanted, left, others)
        self._seat(holder, holder.seated)

    def _room_for(self, part: LeaseAsk) -> int:
        rooms = []
        held, need = self._known.held[part.kind], part.need
        for window, ceiling in zip(self._windows, (part.ceiling, part.burst_ceiling), strict=False):
            sent = window.sums[part.kind]
            left = ceiling - held - sent
            if not held + sent:
                left = max(left, need)
            rooms.append(left)
            if left < need:
                later = held > 0 and held + need > ceiling
                self._must_wait(-1 if later else window.free_in(part.kind, min(sent, need - left), self._now))
        return min(rooms)

    def _must_wait(self, milliseconds: int) -> None:
        self._fits = False
        self._wait = -1 if milliseconds < 0 or self._wait < 0 else max(self._wait, milliseconds)


def _share(need: int, want: int, room: int, holders: int) -> int:
    """Return what is granted where there is room for what is needed: of the rest what is wanted, up to an even part."""
    return need + max(0, min(want - need, (room - need) // holders))
