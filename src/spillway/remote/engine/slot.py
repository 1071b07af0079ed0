"""A worker's slot: the right to have one request with a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spillway.core.ports import ModelRunner
    from spillway.remote.engine.call import Call


class WorkerSlot:
    """One request at a time may run in it; the caller's own task does the running.

    Attributes:
        pool: index of the replica it belongs to.
        number: index inside the pool.
        runner: the replica's runner.
        call: the request that is in it.
        taken_at: the loop's seconds since when.
        served: requests that have left it.
        retired: it goes out of service when its request leaves.
    """

    __slots__ = ("call", "number", "pool", "retired", "runner", "served", "taken_at")

    def __init__(self, pool: int, number: int, runner: ModelRunner) -> None:
        self.pool = pool
        self.number = number
        self.runner = runner
        self.call: Call | None = None
        self.taken_at = 0.0
        self.served = 0
        self.retired = False

    @property
    def busy(self) -> bool:
        """Whether a request is in it."""
        return self.call is not None

    def __repr__(self) -> str:
        return f"<WorkerSlot {self.pool}.{self.number} {'busy' if self.busy else 'idle'} served {self.served}>"
