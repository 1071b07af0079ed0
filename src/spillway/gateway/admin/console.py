"""The operator's side of one gateway: what is kept to be seen, and what may be done."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from spillway.core.clock import loop_clock, wall_now
from spillway.core.errors import ConfigError
from spillway.gateway.admin import picture
from spillway.gateway.admin.history import History
from spillway.gateway.admin.journal import Journal
from spillway.gateway.admin.limits import Incidents
from spillway.gateway.admin.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from spillway.gateway.app import Gateway
    from spillway.gateway.served import Served
    from spillway.gateway.together import Fellows
    from spillway.remote.circuit_breaker import BreakerEvent, CircuitBreakerHandle
    from spillway.runtime.cluster import Cluster

FRESH_S = 0.9
"""So long one picture of the state serves all who look."""


class Console:
    """Keeps the newest requests, the last 15 minutes and the journal of one gateway; a `Listener` of it.

    It follows the gateway to another Cluster when that is exchanged.

    Args:
        gateway: whose.
        unseen: doors whose requests are not kept: those of operators and of health checks.

    Attributes:
        readers: streams of events that are open.
        fellows: the gateways that answer as one with this; None: there are none.

    Complexity: about two microseconds a request; what is shown is made when somebody looks.
    """

    def __init__(self, gateway: Gateway, unseen: frozenset[str]) -> None:
        self.recent = Recent()
        self.history = History()
        self.journal = Journal()
        self.incidents = Incidents(self._limits_are_back)
        self.readers = 0
        self.fellows: Fellows | None = None
        self._gateway = gateway
        self._unseen = unseen
        self._clock = loop_clock()
        self._started = wall_now().timestamp()
        self._cluster: Cluster | None = None
        self._stops: list[Callable[[], object]] = []
        self._picture: dict[str, Any] = {}
        self._drawn_at: float | None = None

    def on_served(self, record: Served) -> None:
        """Keep a request of a caller."""
        if record.door in self._unseen:
            return
        if self._cluster is not self._gateway.cluster:
            self.follow()
        self.recent.note(record)
        self.history.note(record)

    def follow(self) -> None:
        """Look at the Cluster that the gateway has now; it does nothing where it does so already."""
        cluster = self._gateway.cluster
        if self._cluster is cluster:
            return
        self._clock = loop_clock()
        for stop in self._stops:
            stop()
        self._stops.clear()
        self.incidents.clear()
        self.history.keep_only(cluster.deployments())
        try:
            circuits: dict[int, tuple[str, CircuitBreakerHandle]] = {}
            for name in cluster.deployments():
                found = cluster.deployment(name)
                for key in range(found.keys):
                    breaker = found.circuit_breaker(key)
                    circuits.setdefault(id(breaker), (name, breaker))
        except ConfigError:
            # It has not started and can't; there is nothing to look at.
            return
        for name, breaker in circuits.values():
            self._stops.append(breaker.subscribe(partial(self._turned, name)))
        self._stops.append(cluster.observe(self.recent))
        self._cluster = cluster
        self._drawn_at = None

    def _turned(self, name: str, event: BreakerEvent) -> None:
        self.journal.turned(name, event)

    def _limits_are_back(self, name: str) -> None:
        self.changed()
        self.journal.did("timer", name, "limits are back to those of the file")

    @property
    def epoch(self) -> float:
        """What turns the loop's seconds into those since 1970."""
        return wall_now().timestamp() - self._clock()

    def now(self) -> float:
        """Return the loop's seconds."""
        return self._clock()

    def deployment(self, name: str) -> dict[str, Any]:
        """Return the state of one deployment.

        Raises:
            ModelNotFound: there is none of that name.
            BadRequest: it is a group's.
        """
        self.follow()
        now = self._clock()
        found = self._gateway.cluster.deployment(name)
        state = picture.deployment(found, limits_end_in_s=self.incidents.ends_in(name, now))
        track = self.history.by_deployment.get(name)
        state["last_15_min"] = None if track is None else track.summary(now)
        return state

    def state(self) -> dict[str, Any]:
        """Return everything at this instant; for `FRESH_S` the same."""
        now = self._clock()
        if self._drawn_at is None or not 0.0 <= now - self._drawn_at < FRESH_S:
            self._picture = self._draw(now)
            self._drawn_at = now
        return self._picture

    async def seen(self) -> dict[str, Any]:
        """Return everything at this instant, of all gateways that answer as one."""
        if self.fellows is None:
            return self.state()
        return (await self.fellows.look()).state(demo=self.demo)

    async def deployment_seen(self, name: str) -> dict[str, Any]:
        """Return the state of one deployment, over all gateways that answer as one.

        Raises:
            ModelNotFound: there is none of that name.
            BadRequest: it is a group's.
        """
        own = self.deployment(name)
        return own if self.fellows is None else (await self.fellows.look()).deployment(name)

    @property
    def demo(self) -> dict[str, Any] | None:
        """What the dashboard is told of a demonstration; None: it is none."""
        return self._gateway.demo

    def drawn(self) -> dict[str, Any]:
        """Return everything in this process at this instant, for nobody but those that put several together."""
        return self._draw(self._clock())

    def changed(self) -> None:
        """Have the next look see what was just done."""
        self._drawn_at = None
        if self.fellows is not None:
            self.fellows.changed()

    def _draw(self, now: float) -> dict[str, Any]:
        self.follow()
        gateway = self._gateway
        return {
            "at": round(self.epoch + now, 3),
            "gateway": {
                "ready": gateway.ready(),
                "draining": gateway.draining,
                "up_s": wall_now().timestamp() - self._started,
                "reloads": gateway.reloader is not None,
                "demo": gateway.demo,
                "last_15_min": self.history.whole.summary(now),
            },
            "deployments": [self.deployment(name) for name in gateway.cluster.deployments()],
            "keys": [picture.caller(found) for found in gateway.callers.every],
        }

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that serves."""
        return asyncio.get_running_loop()

    def __repr__(self) -> str:
        return f"<Console {self.recent!r} {self.readers} readers>"
