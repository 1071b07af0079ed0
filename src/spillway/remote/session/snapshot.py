"""One generation of a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from spillway.core.secrets import Secret
from spillway.remote.http import HttpClient
from spillway.remote.session.expiry import Windows

_FOR_EVER = Windows()


class SessionSnapshot:
    """A client and the credential that belongs to it: everything of one generation, for as long as it is held.

    Attributes:
        generation: 1 for the first, one more for each rebuild.
        client: to be used between `acquire` and `release` only.
        secrets: the pool of keys; never empty.
        prepared: what `SessionConfig.prepare` made of the first secret, e.g. headers; None without it.
        built_at: the loop's seconds.
        windows: when the next generation is due because a secret ends.
        in_flight: requests and streams that hold it.

    Invariants: nothing of it changes but `in_flight`; its client is open while `in_flight` is not 0.
    """

    __slots__ = ("_on_idle", "built_at", "client", "generation", "in_flight", "prepared", "secrets", "windows")

    def __init__(
        self,
        generation: int,
        client: HttpClient,
        secrets: tuple[Secret, ...],
        *,
        built_at: float,
        prepared: Any = None,
        windows: Windows = _FOR_EVER,
    ) -> None:
        self.generation = generation
        self.client = client
        self.secrets = secrets
        self.prepared = prepared
        self.built_at = built_at
        self.windows = windows
        self.in_flight = 0
        self._on_idle: Callable[[SessionSnapshot], None] | None = None

    @property
    def secret(self) -> Secret:
        """The first of the keys."""
        return self.secrets[0]

    def acquire(self) -> Self:
        """Keep the client open until the matching `release`; returns itself."""
        self.in_flight += 1
        return self

    def release(self) -> None:
        """Give it back; exactly once for each `acquire`."""
        self.in_flight -= 1
        if self.in_flight == 0 and self._on_idle is not None:
            self._on_idle(self)

    def retire(self, on_idle: Callable[[SessionSnapshot], None]) -> None:
        """Call `on_idle` once nothing holds it, which may be now."""
        self._on_idle = on_idle
        if self.in_flight == 0:
            on_idle(self)

    def __repr__(self) -> str:
        state = "current" if self._on_idle is None else "retired"
        return f"<SessionSnapshot {self.generation} {state} in flight {self.in_flight}>"
