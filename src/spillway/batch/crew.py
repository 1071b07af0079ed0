"""Starts lines of all lanes, as many as may be under way, each worker going on with the next line of its lane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from spillway.batch.files import FileTroubleError
from spillway.batch.lane import Item, Lane
from spillway.batch.targets import Target

Send = Callable[[Lane, Item], Awaitable[None]]


class Crew:
    """The workers of a run; no task is made for a line that follows another.

    Args:
        send: brings one line to its result, or puts it back into its lane.
        idle: told when the last worker has ended.
        most: lines under way at once over all lanes.

    Attributes:
        lanes: by the name of their target.
        active: lines under way.
    """

    def __init__(self, *, send: Send, idle: Callable[[], None], most: int | None = None) -> None:
        self.lanes: dict[str, Lane] = {}
        self.active = 0
        self._send = send
        self._idle = idle
        self._most = most
        self._tasks: asyncio.TaskGroup | None = None
        self._workers: dict[asyncio.Task[None], Item] = {}
        self._dismissed = False

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Have `tasks` own the workers."""
        self._tasks = tasks

    @property
    def window(self) -> int:
        """Lines that may have been read and not yet written."""
        return sum(lane.target.capacity + lane.target.queue_capacity for lane in self.lanes.values()) or 1

    def lane(self, target: Target) -> Lane:
        """Return the lane of a target; the first call makes it."""
        lane = self.lanes.get(target.name)
        if lane is None:
            lane = self.lanes[target.name] = Lane(target, asyncio.get_running_loop(), self.wake)
        return lane

    def push(self, lane: Lane, item: Item) -> None:
        """Put a line in and start it if it may start."""
        lane.push(item)
        self.fill(lane)

    def wake(self) -> None:
        """Start what may start now."""
        for lane in self.lanes.values():
            self.fill(lane)

    def fill(self, lane: Lane) -> None:
        """Start as many lines of a lane as may start now."""
        tasks = self._tasks
        if self._dismissed or tasks is None:
            return
        now = asyncio.get_running_loop().time()
        while self._most is None or self.active < self._most:
            item = lane.pop(now, beside=lane.active)
            if item is None:
                break
            lane.active += 1
            self.active += 1
            task = tasks.create_task(self._work(lane, item))
            self._workers[task] = item
            task.add_done_callback(partial(self._left, lane))
        lane.arm(now)

    def dismiss(self, *, spare: Callable[[Item], bool] = lambda _: False) -> None:
        """Start nothing more, forget the lines that wait, and cancel those under way that are not to be spared."""
        self._dismissed = True
        for lane in self.lanes.values():
            lane.clear()
        for task, item in self._workers.items():
            if not spare(item):
                task.cancel()

    async def _work(self, lane: Lane, item: Item | None) -> None:
        clock = asyncio.get_running_loop().time
        task = asyncio.current_task()
        try:
            while item is not None:
                if task is not None:
                    self._workers[task] = item
                await self._send(lane, item)
                item = None if self._dismissed else lane.pop(clock(), beside=lane.active - 1)
        except FileTroubleError:
            # The ledger has reported it, and the run is ending.
            return

    def _left(self, lane: Lane, task: asyncio.Task[None]) -> None:
        """Take note of a worker's end; one that is cancelled before its first step ends here too."""
        self._workers.pop(task, None)
        lane.active -= 1
        self.active -= 1
        self.wake()
        if not self.active:
            self._idle()

    def __repr__(self) -> str:
        return f"<Crew {self.active} active in {list(self.lanes.values())}>"
