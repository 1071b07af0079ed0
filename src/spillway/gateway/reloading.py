"""The project file read again while the gateway serves: all of it takes effect, or none of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from spillway.core.errors import ConfigError, InferenceError
from spillway.gateway.credentials import read_credentials
from spillway.gateway.heads import Hosts
from spillway.runtime.config import load
from spillway.runtime.project import ClusterSettings
from spillway.stores.sqlite import KeyFile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spillway.gateway.app import Gateway
    from spillway.gateway.binding import Bind
    from spillway.gateway.credentials import Credentials
    from spillway.runtime.project import ProjectFile


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What reading the project file again came to; names of deployments, and of gateway keys in `keys_…`.

    Attributes:
        secrets: deployments that were there before and have another secret now.
        notes: what has not taken effect, or otherwise than may be expected, one line each.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    keys_added: tuple[str, ...] = ()
    keys_removed: tuple[str, ...] = ()
    keys_changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = [
            f"{name.replace('_', ' ')} {', '.join(names)}"
            for name in self.__struct_fields__[:-1]
            if (names := getattr(self, name))
        ]
        return "; ".join([*said, *self.notes]) or "nothing has changed"


class Reloader:
    """Reads a gateway's project file again when it is called.

    Args:
        project: as it was read at the start.
        credentials: as they were read then.
        bind: where the gateway listens.
        then: called after each reading that took effect.

    Invariants: one reading at a time; a wrong file changes nothing.
    """

    def __init__(
        self,
        gateway: Gateway,
        project: ProjectFile,
        credentials: Credentials,
        *,
        bind: Bind,
        environ: Mapping[str, str],
        then: Callable[[], object] = lambda: None,
    ) -> None:
        self._gateway = gateway
        self._then = then
        self._project = project
        self._credentials = credentials
        self._bind = bind
        self._environ = environ
        self._one = asyncio.Lock()

    async def __call__(self) -> Reloaded:
        """Read file and secrets, and have the gateway follow.

        Raises:
            ConfigError: the file is wrong, a secret is missing, or it can't be served so; nothing has changed.
        """
        async with self._one:
            before, gateway = self._project, self._gateway
            after = await asyncio.to_thread(load, before.path)
            check_open(after, self._bind)
            credentials = await read_credentials(after, self._environ)
            gateway.change_keys(credentials.keys, credentials.admin_key)
            try:
                told = await gateway.cluster.reconfigure(after.deployments)
            except BaseException:
                gateway.change_keys(self._credentials.keys, self._credentials.admin_key)
                raise
            gateway.hosts = Hosts(hosts_of(after, self._bind))
            renewed = credentials.changed_since(self._credentials)
            # New engines have read theirs already, or will at their first request.
            stay = [name for name in (*told.unchanged, *told.changed) if name in renewed]
            self._project, old, self._credentials = after, self._credentials, credentials
            failed = [line for name in stay if (line := await self._renew(name)) is not None]
            self._then()
            keys = {key.name: key for key in before.gateway.keys}
            kept = [key for key in after.gateway.keys if key.name in keys]
            return Reloaded(
                added=told.added,
                removed=told.removed,
                changed=told.changed,
                secrets=tuple(stay),
                keys_added=tuple(key.name for key in after.gateway.keys if key.name not in keys),
                keys_removed=tuple(name for name in keys if name not in {key.name for key in kept}),
                keys_changed=tuple(
                    key.name
                    for key in kept
                    if key != keys[key.name] or credentials.key_mark(key.name) != old.key_mark(key.name)
                ),
                notes=(*told.notes, *failed, *_only_at_a_start(before, after)),
            )

    async def _renew(self, name: str) -> str | None:
        """Have a deployment use its new secret; return why it does not."""
        try:
            await self._gateway.cluster.deployment(name).rebuild_session()
        except InferenceError as error:
            return f"{name}: the new secret is not in use: {error.message}"
        return None


def hosts_of(project: ProjectFile, bind: Bind) -> tuple[str, ...] | None:
    """Return the names beside loopback's that a request's `Host` may have; None: any."""
    named = project.gateway.hosts
    return named if named or bind.is_loopback else None


def check_open(project: ProjectFile, bind: Bind) -> None:
    """Refuse to be open to others without a key.

    Raises:
        ConfigError: it would be.
    """
    if bind.is_loopback or project.gateway.keys:
        return
    state = Path(project.cluster.state) if project.cluster.state else None
    if state is not None and state.exists():
        with KeyFile(state) as file:
            if file.all():
                return
    raise ConfigError(
        f"{bind} is open to others and there is no gateway key; add one ([[gateway.keys]], or `spillway keys create`), "
        "or bind to 127.0.0.1"
    )


def _only_at_a_start(before: ProjectFile, after: ProjectFile) -> list[str]:
    changed = [name for name in ClusterSettings.__struct_fields__ if _differ(before.cluster, after.cluster, name)]
    notes = [f"[cluster] {name} takes effect at the next start" for name in changed]
    if before.gateway.bind != after.gateway.bind:
        notes.append("[gateway] bind takes effect at the next start")
    return notes


def _differ(before: object, after: object, name: str) -> bool:
    return bool(getattr(before, name) != getattr(after, name))
