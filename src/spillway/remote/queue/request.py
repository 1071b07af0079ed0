"""A request while it waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.priority import Priority

if TYPE_CHECKING:
    from spillway.remote.queue.lanes import Lane


class PriorityRequest:
    """One request that waits, and what decides when it leaves.

    Args:
        payload: what is queued; the queue never looks at it.
        priority: its class.
        deadline: instant from which it is never popped; None: never mind.
        not_before: instant before which it is not popped; may be set anew before `RequestQueue.requeue`.
        tenant: whose it is; the tenants of a class share by cost.
        cost: what it takes of its tenant's share, e.g. tokens; at least 1.

    Instants are seconds of the clock whose readings the queue is handed. Equality is identity.

    Attributes:
        seq: its place among all that were ever pushed, 0 before it was; a repetition keeps it.
        lane: the queue's own mark of where it waits, None when it does not.
        stay: the queue's own number of this stay, 0 when it does not wait; tells live heap entries from left ones.
        waits_since: the queue's own note of when it was pushed.
    """

    __slots__ = (
        "cost",
        "deadline",
        "lane",
        "not_before",
        "payload",
        "priority",
        "seq",
        "stay",
        "tenant",
        "waits_since",
    )

    def __init__(
        self,
        payload: Any,
        *,
        priority: Priority = Priority.NORMAL,
        deadline: float | None = None,
        not_before: float = 0.0,
        tenant: str = "",
        cost: int = 1,
    ) -> None:
        if cost < 1:
            raise ValueError(f"cost must be at least 1, not {cost!r}")
        self.payload = payload
        self.priority = priority
        self.deadline = deadline
        self.not_before = not_before
        self.tenant = tenant
        self.cost = cost
        self.seq = 0
        self.lane: Lane | None = None
        self.stay = 0
        self.waits_since = 0.0

    def __repr__(self) -> str:
        state = "waiting" if self.lane is not None else "not waiting"
        tenant = f" of {self.tenant}" if self.tenant else ""
        return f"<PriorityRequest {self.seq} {Priority(self.priority).name.lower()}{tenant} {state}>"
