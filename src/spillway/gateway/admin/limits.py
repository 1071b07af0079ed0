"""Other limits for an incident: set for a time, and the configured ones after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from spillway.core.options import RateLimits

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from spillway.runtime.deployed import Deployed


class Incident(msgspec.Struct, kw_only=True):
    """The limits of one deployment are not those of the file.

    Attributes:
        ends: brings the configured ones back; None: nothing but an operator does.
    """

    ends: asyncio.TimerHandle | None = None


class Incidents:
    """Which deployments have other limits than the file's, and until when.

    Args:
        ended: called with a name when its time is over and its configured limits are back.
    """

    def __init__(self, ended: Callable[[str], None]) -> None:
        self._ended = ended
        self._open: dict[str, Incident] = {}

    def set(
        self, found: Deployed, asked: dict[str, int], for_s: float | None, loop: asyncio.AbstractEventLoop
    ) -> list[str]:
        """Have the configured limits with what is `asked` in their place.

        Returns:
            The names of the other deployments for which they hold: those of its limit group.
        """
        self._forget(found.name)
        limits = msgspec.structs.replace(found.options.rate_limits or RateLimits(), **asked)
        others = found.set_limits(limits)
        for name in others:
            self._forget(name)
        timer = None if for_s is None else loop.call_later(for_s, self._end, found)
        for name in (found.name, *others):
            self._open[name] = Incident(ends=timer)
        return others

    def reset(self, found: Deployed) -> list[str]:
        """Bring the configured limits back; returns as `set` does."""
        self._forget(found.name)
        others = found.set_limits(found.options.rate_limits or RateLimits())
        for name in others:
            self._forget(name)
        return others

    def ends_in(self, name: str, now: float) -> float | None:
        """Return the seconds until the configured limits come back, None where no time is set."""
        incident = self._open.get(name)
        return None if incident is None or incident.ends is None else max(0.0, incident.ends.when() - now)

    def clear(self) -> None:
        """Forget all: their deployments are gone."""
        for name in list(self._open):
            self._forget(name)

    def _end(self, found: Deployed) -> None:
        self.reset(found)
        self._ended(found.name)

    def _forget(self, name: str) -> None:
        incident = self._open.pop(name, None)
        if incident is not None and incident.ends is not None:
            incident.ends.cancel()

    def __repr__(self) -> str:
        return f"<Incidents {', '.join(self._open) or 'none'}>"
