"""The twin of `breakers.lua`: one sync of one node of all circuits that it shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from spillway.remote.circuit_breaker import TransitionReason as Reason
from spillway.remote.circuit_breaker.told import (
    FAILED,
    FORCE_CLOSE,
    FORCE_OPEN,
    FOREVER_MS,
    OPENED,
    ORDERS,
    PASSED,
    Probe,
    Record,
    Report,
    Said,
)
from spillway.stores.shared.breakers import BreakersAnswer, BreakersSync

if TYPE_CHECKING:
    from spillway.stores.commons.shelf import Shelf

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(BreakersSync).decode

_CLOSED, _OPEN, _HALF_OPEN = "closed", "open", "half_open"


@dataclass(slots=True)
class _Board:
    """What is known of all circuits."""

    records: dict[str, Record] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, int] = field(default_factory=dict)
    version: int = 0


def breakers(shelf: Shelf, keys: tuple[str, ...], argument: bytes) -> bytes:
    """Take what happened at a node, lease probes, tell what is new."""
    sync = _decode(argument)
    board = shelf.value(keys[0], _Board, keep_ms=sync.keep_ms)
    since = -1 if sync.since > board.version else sync.since
    board.version = max(board.version, sync.since)
    now = shelf.now_ms
    for node in [node for node, seen in board.nodes.items() if seen <= now - sync.silent_ms]:
        del board.nodes[node]
    told = [(report.key, _Turn(board, sync.node, now, report).record) for report in sync.reports]
    seen = {key for key, _ in told}
    told += [(key, board.records[key]) for key, at in board.changes.items() if at > since and key not in seen]
    if sync.leaving:
        board.nodes.pop(sync.node, None)
    else:
        board.nodes[sync.node] = now
    return _encode(BreakersAnswer(now=now, version=board.version, told=told))


class _Turn:
    """One report that is taken."""

    def __init__(self, board: _Board, node: str, now: int, report: Report) -> None:
        self._board = board
        self._node = node
        self._now = now
        self._report = report
        known = board.records.get(report.key)
        record = self.record = Record(probes=[]) if known is None else known
        board.version = max(board.version, report.gen)
        changed = self._prune()
        fits = report.gen == record.gen
        for said in report.said:
            if said.kind in ORDERS:
                changed |= self._order(said)
            elif fits:
                changed |= self._happened(said)
        if report.apart or report.gen > record.gen:
            changed |= self._take_over(known=known is not None)
        gen = record.gen
        self._close_when_proven()
        changed |= report.want and self._lease()
        if changed or record.gen != gen:
            board.records[report.key] = record
            board.changes[report.key] = self._number()

    def _number(self) -> int:
        self._board.version += 1
        return self._board.version

    def _enter(self, state: str, reason: str) -> None:
        record = self.record
        record.gen = self._number()
        record.state = state
        record.reason = reason
        record.node = self._node
        record.proven = 0
        record.probes = []
        if state == _CLOSED:
            record.failed = 0

    def _prune(self) -> bool:
        """End the leases of probes that can bring no verdict any more."""
        record, report = self.record, self._report
        held = {*report.probes, *(said.probe for said in report.said if said.probe)}
        left = [
            probe
            for probe in record.probes
            if probe.until > self._now
            and probe.node in self._board.nodes
            and (probe.node != self._node or probe.number in held)
        ]
        changed = len(left) != len(record.probes)
        record.probes = left
        return changed

    def _order(self, said: Said) -> bool:
        """Do what an operator said, unless something was said since."""
        record, at = self.record, self._now - said.ago_ms
        if record.order_node == self._node:
            if said.number <= record.order_number:
                return False
        elif at < record.order_at:
            return False
        record.order_at, record.order_node, record.order_number = at, self._node, said.number
        if said.kind == FORCE_OPEN:
            record.held = 0
            if record.state != _OPEN:
                self._enter(_OPEN, Reason.FORCED_OPEN)
                record.opened = at
            record.till = _after(at, said.ms)
        elif said.kind == FORCE_CLOSE:
            record.held = _after(at, said.ms)
            if record.state != _CLOSED:
                self._enter(_CLOSED, Reason.FORCED_CLOSED)
        else:
            record.held = record.opened = 0
            self._enter(_CLOSED, Reason.RESET)
        return True

    def _happened(self, said: Said) -> bool:
        record, report, at = self.record, self._report, self._now - said.ago_ms
        if said.kind == OPENED and record.state == _CLOSED and record.held <= self._now:
            self._enter(_OPEN, said.reason)
            record.opened = at
            record.till = _after(at, said.ms)
        elif said.kind == PASSED and record.state == _HALF_OPEN and self._end(said.probe):
            record.proven += 1
            self._close_when_proven()
        elif said.kind == FAILED and record.state == _HALF_OPEN and (not said.probe or self._end(said.probe)):
            record.failed += 1
            self._enter(_OPEN, Reason.PROBE_FAILED)
            record.opened = at
            record.till = _after(at, min(report.open_ms * 2 ** min(record.failed, 64), report.longest_ms))
        else:
            return False
        return True

    def _end(self, number: int) -> bool:
        probes = self.record.probes
        self.record.probes = [probe for probe in probes if probe.number != number]
        return len(self.record.probes) != len(probes)

    def _close_when_proven(self) -> None:
        if self.record.state == _HALF_OPEN and self.record.proven >= self._report.most:
            self._enter(_CLOSED, Reason.PROBES_SUCCEEDED)

    def _take_over(self, *, known: bool) -> bool:
        """Learn what was forgotten, or happened apart: the later end of the open time holds."""
        record, report, now = self.record, self._report, self._now
        till = _after(now, report.left_ms) if report.state == _OPEN else now
        held = _after(now, report.held_ms) if report.held_ms > 0 else 0
        if not known:
            record.held = max(record.held, held)
        if report.state == _CLOSED or record.held > now:
            return held > 0
        if known and report.reason == Reason.FORCED_OPEN:
            # An operator's word has been weighed as such.
            return False
        if record.state == _OPEN:
            if till <= record.till:
                return False
        elif known and till <= now:
            return False
        else:
            failed = record.failed
            self._enter(_OPEN, report.reason)
            record.failed = failed
            record.opened = now - report.ago_ms
        record.till = till
        record.failed = max(record.failed, report.failed)
        return True

    def _lease(self) -> bool:
        record, report = self.record, self._report
        if record.state == _OPEN and record.till <= self._now:
            self._enter(_HALF_OPEN, Reason.OPEN_TIME_OVER)
        if record.state != _HALF_OPEN or record.proven + len(record.probes) >= report.most:
            return False
        record.probes.append(Probe(self._number(), self._node, _after(self._now, report.longest_ms)))
        return True


def _after(at: int, ms: int) -> int:
    return FOREVER_MS if ms >= FOREVER_MS else at + ms
