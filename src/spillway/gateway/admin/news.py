"""What is new for one reader of events: of this gateway alone, or of all that answer as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spillway.gateway.admin.console import Console
    from spillway.gateway.together import Fellows, SeenTogether

_NEWEST = 2
"""Buckets that may still change, or just have."""


class AloneNews:
    """The news of one gateway."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen = self._noted = 0

    async def hello(self) -> dict[str, Any]:
        """Return what a reader begins with."""
        console = self._console
        now, epoch = console.now(), console.epoch
        self._seen, self._noted = console.recent.count, console.journal.count
        return {
            "history": console.history.values(now, epoch),
            "requests": console.recent.since(0, epoch),
            "journal": console.journal.since(0),
        }

    async def look(self) -> None:
        """See what there is now."""

    def state(self) -> dict[str, Any]:
        """Return everything at this instant."""
        return self._console.state()

    def newest(self) -> dict[str, Any]:
        """Return the newest buckets of the last 15 minutes."""
        return self._console.history.values(self._console.now(), self._console.epoch, buckets=_NEWEST)

    def requests(self) -> dict[str, Any] | None:
        """Return those that have ended since the last time, None without any."""
        recent = self._console.recent
        if recent.count == self._seen:
            return None
        rows = recent.since(self._seen, self._console.epoch)
        missed = recent.count - self._seen - len(rows)
        self._seen = recent.count
        return {"missed": missed, "requests": rows}

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of the journal since the last time."""
        journal = self._console.journal
        told = journal.since(self._noted) if journal.count > self._noted else []
        self._noted = journal.count
        return told


class NewsTogether:
    """The news of all gateways; requests and entries are numbered in the order in which this reader is told of them."""

    def __init__(self, console: Console, fellows: Fellows) -> None:
        self._console = console
        self._fellows = fellows
        self._now: SeenTogether
        self._seen: dict[str, int] = {}
        self._noted: dict[str, int] = {}
        self._told = 0

    async def hello(self) -> dict[str, Any]:
        """Return what a reader begins with."""
        await self.look()
        requests, _ = _after(self._seen, self._now.requests())
        entries, _ = _after(self._noted, self._now.journal())
        return {"history": self._now.history(), "requests": self._numbered(requests), "journal": entries}

    async def look(self) -> None:
        """See what there is now."""
        self._now = await self._fellows.look(again=True)

    def state(self) -> dict[str, Any]:
        """Return everything at this instant."""
        return self._now.state(demo=self._console.demo)

    def newest(self) -> dict[str, Any]:
        """Return the newest buckets of the last 15 minutes."""
        return self._now.history(buckets=_NEWEST)

    def requests(self) -> dict[str, Any] | None:
        """Return those that have ended since the last time, None without any."""
        rows, missed = _after(self._seen, self._now.requests())
        return {"missed": missed, "requests": self._numbered(rows)} if rows else None

    def entries(self) -> list[dict[str, Any]]:
        """Return the entries of journals since the last time."""
        return _after(self._noted, self._now.journal())[0]

    def _numbered(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        numbered = []
        for row in rows:
            self._told += 1
            numbered.append({**row, "number": self._told})
        return numbered


def _after(seen: dict[str, int], rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return the rows that are newer than those of their worker in `seen`, which is brought up to them.

    Returns:
        Those rows, and how many numbers before them were never there.
    """
    fresh = [row for row in rows if row["number"] > seen.get(row["worker"], 0)]
    missed = 0
    for worker in {row["worker"] for row in fresh}:
        numbers = [row["number"] for row in fresh if row["worker"] == worker]
        if worker in seen:
            missed += max(numbers) - seen[worker] - len(numbers)
        seen[worker] = max(numbers)
    return fresh, missed
