"""What operators did, and what circuits did by themselves: the newest of it, in order."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import wall_now

if TYPE_CHECKING:
    from spillway.remote.circuit_breaker import BreakerEvent

KEPT = 50

_logger = logging.getLogger("spillway.gateway.operator")
_STATES = {"CLOSED": "closed", "HALF_OPEN": "half-open", "OPEN": "open"}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done.

    Attributes:
        at: seconds since 1970.
        who: an operator's address, or `circuit`.
        deployment: what it was done to, empty for the whole gateway.
        what: in words.
        failed: why it could not be done, None when it was.
    """

    number: int
    at: float
    who: str
    deployment: str
    what: str
    failed: str | None = None


class Journal:
    """The last `KEPT` entries; an operator's are logged too.

    Attributes:
        count: the number of the newest entry.
    """

    def __init__(self) -> None:
        self.count = 0
        self._entries: deque[Entry] = deque(maxlen=KEPT)

    def did(self, who: str, deployment: str, what: str, failed: str | None = None) -> None:
        """Note what an operator did, or could not do."""
        where = f" {deployment}" if deployment else ""
        if failed is None:
            _logger.info("operator %s:%s %s", who, where, what)
        else:
            _logger.warning("operator %s:%s %s failed: %s", who, where, what, failed)
        self._add(who, deployment, what, failed)

    def turned(self, deployment: str, event: BreakerEvent) -> None:
        """Note that a circuit changed its state."""
        now, before = _STATES[event.state.name], _STATES[event.previous.name]
        where = ", at another process" if event.node else ""
        self._add("circuit", deployment, f"{before} → {now} ({event.reason.replace('_', ' ')}{where})")

    def since(self, number: int) -> list[dict[str, Any]]:
        """Return the entries after that number that are still kept, the oldest first, as plain values."""
        return [msgspec.to_builtins(entry) for entry in self._entries if entry.number > number]

    def _add(self, who: str, deployment: str, what: str, failed: str | None = None) -> None:
        self.count += 1
        entry = Entry(
            number=self.count, at=wall_now().timestamp(), who=who, deployment=deployment, what=what, failed=failed
        )
        self._entries.append(entry)

    def __repr__(self) -> str:
        return f"<Journal {len(self._entries)} of {self.count}>"
