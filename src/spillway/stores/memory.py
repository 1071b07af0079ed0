"""Shared state of one process: exact among all that hold the same store."""

from __future__ import annotations

import threading

from spillway.core.clock import Clock
from spillway.core.errors import ConfigError
from spillway.core.limit_store import Room, SharedLimits
from spillway.core.options import RateLimits
from spillway.remote.rate_limit.machine import LimitMachine


class MemoryStore:
    """Keeps the windows of each key as long as it lives; a `LimitStore`.

    Args:
        clock: the time of all windows; by default each holder's own, which must then be the same clock.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._shared: dict[str, tuple[SharedLimits, LimitMachine, float, bool]] = {}

    def share(
        self,
        key: str,
        limits: RateLimits,
        *,
        holder: str,
        window_s: float | None = None,
        gives_back: bool = True,
    ) -> SharedLimits:
        """Return the windows of `key`, the same for every holder.

        Args:
            window_s: the length of the "minute"; None: 60 s.

        Raises:
            ConfigError: another holder has it with other limits.
        """
        window_s = 60.0 if window_s is None else window_s
        with self._lock:
            known = self._shared.get(key)
            if known is None:
                machine = LimitMachine(limits, window_s=window_s, gives_back=gives_back)
                shared = SharedLimits(windows=machine, lock=threading.Lock(), room=Room(), clock=self._clock)
                self._shared[key] = shared, machine, window_s, gives_back
                return shared
        shared, machine, *settings = known
        if machine.limits != limits or settings != [window_s, gives_back]:
            raise ConfigError(f"{holder} shares the limits {key!r} with other settings than those it has")
        return shared

    def __repr__(self) -> str:
        return f"<MemoryStore limits of {len(self._shared)}>"
