"""Who waits for their own money: requests whose caller's cap has no room until others of that caller settle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spillway.remote.engine.call import Call
    from spillway.remote.queue import PriorityRequest, RequestQueue


class _Purse:
    """Those who wait for one cap, and the one of them that was called back last."""

    __slots__ = ("called", "stop", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[PriorityRequest] = deque()
        self.called: PriorityRequest | None = None
        self.stop: Callable[[], None] | None = None


class HeldBack:
    """Takes requests that lack their caller's own money out of the way of others, and calls them back one by one.

    Without it the first of them would stand at the head of the queue, and one caller's cap would hold up everybody.

    Args:
        queue: where they keep their seats.
        pump: called when one was called back.

    Complexity: O(1) amortised for each request and each settlement, however many wait.
    """

    __slots__ = ("_pump", "_purses", "_queue")

    def __init__(self, queue: RequestQueue, pump: Callable[[], None]) -> None:
        self._queue = queue
        self._pump = pump
        self._purses: dict[object, _Purse] = {}

    def goes_behind(self, entry: PriorityRequest, call: Call) -> bool:
        """Return whether the head of the queue was taken aside, because others wait for the same money already."""
        if not self._purses or call.gate is None:
            return False
        purse = self._purses.get(_purse_of(call))
        if purse is None or purse.called is entry:
            return False
        call.lacks_own = True
        self._queue.park(entry)
        purse.waiting.append(entry)
        return True

    def hold(self, entry: PriorityRequest, call: Call) -> None:
        """Take the head of the queue aside, which lacks its caller's own money."""
        key = _purse_of(call)
        purse = self._purses.get(key)
        if purse is None:
            purse = self._purses[key] = _Purse()
            if call.gate is not None:
                purse.stop = call.gate.on_room(lambda: self._room(key))
        call.lacks_own = True
        self._queue.park(entry)
        if purse.called is entry:
            purse.called = None
        purse.waiting.appendleft(entry)

    def passed(self, call: Call) -> None:
        """Call the next back, after one who may have waited for the same money went or was refused."""
        if self._purses and call.gate is not None:
            key = _purse_of(call)
            if key in self._purses:
                self._call_back(key)

    def _room(self, key: object) -> None:
        self._call_back(key)
        self._pump()

    def _call_back(self, key: object) -> None:
        purse = self._purses.get(key)
        if purse is None or (purse.called is not None and purse.called.lane is not None):
            return
        while purse.waiting:
            entry = purse.waiting.popleft()
            if self._queue.unpark(entry):
                purse.called = entry
                return
        del self._purses[key]
        if purse.stop is not None:
            purse.stop()

    def __repr__(self) -> str:
        return f"<HeldBack {sum(len(purse.waiting) for purse in self._purses.values())}>"


def _purse_of(call: Call) -> object:
    """Return what tells one cap from another: many gates may spend from one."""
    return getattr(call.gate, "purse", call.gate)
