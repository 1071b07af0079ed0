"""Which deployments a line leads to, and what a run must know of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from spillway.core.errors import BadRequest, ConfigError, ModelNotFound
from spillway.core.options import Deployment
from spillway.runtime.routing import unknown_name


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment or group that lines ask for.

    Attributes:
        members: the deployments that share the name, in the order of the file.
        route: names of these and of all their fallbacks.
        capacity: lines that may be in flight at once.
        attempts: sent attempts after which a line that fails while others are served is given up.
        repeatable: codes of errors that may be repeated at all.
        idempotent: False: a line that was sent is never sent again.
    """

    name: str
    members: tuple[str, ...]
    route: frozenset[str]
    capacity: int
    queue_capacity: int
    attempts: int
    repeatable: frozenset[str]
    idempotent: bool


class Targets:
    """Finds the target of every line.

    Args:
        deployments: all of the project file, or the one that was made up for `asked`.
        asked: the name that overrides what lines say.
        processes: in how many processes each deployment has its slots.

    Raises:
        ConfigError: `asked` is no deployment or group.
    """

    def __init__(self, deployments: Sequence[Deployment], asked: str | None = None, *, processes: int = 1) -> None:
        members: dict[str, list[Deployment]] = {d.name: [d] for d in deployments}
        for deployment in deployments:
            if deployment.group:
                members.setdefault(deployment.group, [])
                if deployment not in members[deployment.group]:
                    members[deployment.group].append(deployment)
        self._targets = {name: _target(name, found, members, processes) for name, found in members.items()}
        self._models = {d.name: d.provider_model for d in deployments}
        if asked is not None and asked not in self._targets:
            raise ConfigError(unknown_name(asked, self._targets))
        only = deployments[0].name if len(deployments) == 1 else None
        self._asked = asked
        self._default = asked or only

    @property
    def certain(self) -> Target | None:
        """The target of every line, when the lines have no say in it."""
        return None if self._asked is None else self._targets[self._asked]

    def resolve(self, model: str | None) -> Target:
        """Return the target of a line that names `model`.

        Raises:
            BadRequest: it names none where it must, or nothing that is known.
        """
        name = self._asked or model or self._default
        if name is None:
            raise BadRequest(f"the line names no model; one of: {', '.join(sorted(self._targets))}")
        try:
            return self._targets[name]
        except KeyError:
            raise BadRequest(unknown_name(name, self._targets)) from None

    def provider_model(self, deployment: str) -> str:
        """Return the model that a deployment stands for.

        Raises:
            ModelNotFound: there is no such deployment.
        """
        try:
            return self._models[deployment]
        except KeyError:
            raise ModelNotFound(unknown_name(deployment, self._models)) from None


def _target(name: str, found: Sequence[Deployment], members: dict[str, list[Deployment]], processes: int) -> Target:
    route = {d.name for d in found}
    for deployment in found:
        for fallback in deployment.fallback:
            route.update(d.name for d in members.get(fallback, ()))
    first = found[0]
    return Target(
        name=name,
        members=tuple(d.name for d in found),
        route=frozenset(route),
        capacity=processes * sum(d.serving.max_concurrent * d.replicas for d in found),
        queue_capacity=processes * sum(d.serving.queue_capacity for d in found),
        attempts=first.retry.max_retries + 1,
        repeatable=frozenset(first.retry.retry_on),
        idempotent=all(d.idempotent for d in found),
    )
