"""What becomes of a Cluster's deployments when their options change: which stay, follow, are replaced, come and go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from spillway.core.options import Deployment

_FOLLOWED = (
    "group",
    "weight",
    "fallback",
    "fallback_on",
    "fallback_after_s",
    "idempotent",
    "on_disconnect",
    "retry",
    "rate_limits",
    "circuit_breaker",
    "budget",
    "pricing",
)
"""Options that engines which run can take over; any other is baked into connections, slots or queues."""


class Reconfigured(msgspec.Struct, frozen=True, kw_only=True):
    """What a change of a Cluster's deployments came to.

    Attributes:
        changed: have other options now; limit windows, spend, breaker and counters went on.
        notes: what took effect in another way than may be expected, one line each.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Turnover:
    """The difference between two sets of deployments.

    Attributes:
        followed: changed, and their engines can take that over.
        replaced: changed, and need new engines.
    """

    def __init__(self, before: Sequence[Deployment], after: Sequence[Deployment]) -> None:
        self.before = {deployment.name: deployment for deployment in before}
        self.after = {deployment.name: deployment for deployment in after}
        self.added = [name for name in self.after if name not in self.before]
        self.removed = [name for name in self.before if name not in self.after]
        both = [name for name in self.after if name in self.before]
        changed = [name for name in both if self.before[name] != self.after[name]]
        self.followed = [name for name in changed if _can_follow(self.before[name], self.after[name])]
        self.replaced = [name for name in changed if name not in self.followed]

    def told(self) -> Reconfigured:
        """Return it in words."""
        changed = tuple(name for name in self.after if name in {*self.followed, *self.replaced})
        return Reconfigured(
            added=tuple(self.added),
            removed=tuple(self.removed),
            changed=changed,
            unchanged=tuple(name for name in self.after if name in self.before and name not in changed),
            notes=tuple(note for name in changed for note in _notes(self.before[name], self.after[name])),
        )


def _can_follow(before: Deployment, after: Deployment) -> bool:
    if (before.budget is None) != (after.budget is None):
        return False
    anew = {name: getattr(after, name) for name in _FOLLOWED}
    return msgspec.structs.replace(before, **anew) == after


def _notes(before: Deployment, after: Deployment) -> list[str]:
    notes = []
    if before.limit_group != after.limit_group:
        notes.append(f"{after.name}: another limit_group is another limit and another breaker, with windows of its own")
    elif _strict(before) != _strict(after):
        notes.append(f"{after.name}: rate_limits.strict takes effect at the next start")
    return notes


def _strict(deployment: Deployment) -> bool:
    return deployment.rate_limits is not None and deployment.rate_limits.strict
