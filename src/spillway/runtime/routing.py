"""Who is asked for a name: a deployment or a group's members, then the fallbacks."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from spillway.core.errors import ConfigError, ModelNotFound
from spillway.remote.engine.credential import reread_credential_beside
from spillway.remote.retry import RetryEngine

if TYPE_CHECKING:
    from spillway.remote.engine import Engine


class RouteTarget:
    """One stop of a route: the members that share a name, in the order of the file.

    The choice is by least load per weight among the healthy ones; equal loads go round by weight, so that an idle
    group spreads its calls in the proportion of the weights.
    """

    __slots__ = ("_credit", "members", "name", "retry")

    def __init__(self, name: str, members: Sequence[Engine]) -> None:
        self.name = name
        self.members = tuple(members)
        first = self.members[0].deployment
        self.retry = RetryEngine(first.retry, idempotent=all(m.deployment.idempotent for m in self.members))
        self._credit = [0.0] * len(self.members)

    def pick(self, avoid: Collection[Engine]) -> Engine:
        """Return the member to ask now; an unhealthy one only when all are, and then one that time may heal."""
        if len(self.members) == 1:
            return self.members[0]
        chosen = self._choose(avoid)
        if chosen is None:
            left = [m for m in self.members if m not in avoid] or [self.members[0]]
            chosen = next((m for m in left if m.credential.refused is None), left[0])
            self._look_for_credentials(chosen)
        return chosen

    def other(self, avoid: Collection[Engine]) -> Engine | None:
        """Return a healthy member outside `avoid`, or None."""
        return self._choose(avoid) if len(self.members) > 1 else None

    def healthy(self) -> bool:
        """Whether some member would take a request now."""
        return any(m.healthy() for m in self.members)

    def _choose(self, avoid: Collection[Engine]) -> Engine | None:
        able = [i for i, m in enumerate(self.members) if m not in avoid and m.healthy()]
        if not able:
            return None
        if len(able) < len(self.members):
            self._look_for_credentials()
        least = min(self.members[i].load() for i in able)
        equal = [i for i in able if self.members[i].load() <= least + 1e-9]
        for i in equal:
            self._credit[i] += self.members[i].deployment.weight
        chosen = max(equal, key=lambda i: self._credit[i])
        self._credit[chosen] -= sum(self.members[i].deployment.weight for i in equal)
        return self.members[chosen]

    def _look_for_credentials(self, asked: Engine | None = None) -> None:
        """Have refused credentials looked for again, but for that of `asked`, whose caller does so."""
        for member in self.members:
            if member.credential.refused is not None and member is not asked:
                reread_credential_beside(member)

    def __repr__(self) -> str:
        return f"<RouteTarget {self.name}: {', '.join(m.name for m in self.members)}>"


class Router:
    """Finds the route of every name; all routes are laid once, at construction.

    Attributes:
        entries: the engines of each deployment, one for each entry of its key pool.
        engines: the first of them.

    Raises:
        ConfigError: two deployments of one name, a name that is also a group's, a fallback to nothing.
    """

    def __init__(self, engines: Iterable[Engine]) -> None:
        entries: dict[str, list[Engine]] = {}
        groups: dict[str, list[Engine]] = {}
        for engine in engines:
            entries.setdefault(engine.name, []).append(engine)
            if engine.deployment.group:
                groups.setdefault(engine.deployment.group, []).append(engine)
        self.entries = {name: tuple(found) for name, found in entries.items()}
        self.engines = {name: found[0] for name, found in entries.items()}
        self._targets = {name: RouteTarget(name, found) for name, found in entries.items()}
        for name, members in groups.items():
            self._targets[name] = RouteTarget(name, members)
        self._routes: dict[str, tuple[RouteTarget, ...]] = {
            name: self._lay(target) for name, target in self._targets.items()
        }

    def route(self, name: str) -> tuple[RouteTarget, ...]:
        """Return the targets to ask for `name`, in order.

        Raises:
            ModelNotFound: nothing has that name.
        """
        try:
            return self._routes[name]
        except (KeyError, TypeError):
            raise ModelNotFound(unknown_name(name, self._targets)) from None

    def every(self) -> list[Engine]:
        """Return all engines."""
        return [engine for entries in self.entries.values() for engine in entries]

    def names(self) -> list[str]:
        """Return every name that can be asked for."""
        return list(self._targets)

    def _lay(self, target: RouteTarget) -> tuple[RouteTarget, ...]:
        stops = [target]
        for member in target.members:
            for name in member.deployment.fallback:
                stop = self._targets.get(name)
                if stop is None:
                    raise ConfigError(f"deployment {member.name!r} falls back to {unknown_name(name, self._targets)}")
                if not any(set(stop.members) <= set(earlier.members) for earlier in stops):
                    stops.append(stop)
        return tuple(stops)


def unknown_name(name: object, known: Mapping[str, object] | Collection[str]) -> str:
    """Return one line that says `name` is not known and which one may have been meant."""
    near = difflib.get_close_matches(str(name), list(known), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
    return f"no deployment or group {str(name)[:200]!r} ({hint})"
