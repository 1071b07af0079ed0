"""All secrets of a project, read at once: what is missing is known before anything is begun, what changed after."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from spillway.core.errors import ConfigError
from spillway.providers.secret_plugins import credential_source
from spillway.runtime.config import world_readable
from spillway.runtime.config_errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spillway.core.secrets import Secret, SecretLike
    from spillway.runtime.project import GatewayKey, ProjectFile


class Credentials:
    """The secrets of a project as they were when they were read.

    Attributes:
        keys: those of the callers.
        admin_key: None: there is none.
    """

    def __init__(self, project: ProjectFile, read: Mapping[SecretLike, Secret]) -> None:
        self.keys: list[tuple[GatewayKey, Secret]] = [(key, read[key.key]) for key in project.gateway.keys]
        admin = project.gateway.admin_key
        self.admin_key: Secret | None = None if admin is None else read[admin]
        marks: dict[str, list[bytes]] = {}
        for use in project.secrets:
            if use.owner:
                marks.setdefault(use.owner, []).append(_mark(read[use.ref]))
        self._marks = marks

    def key_mark(self, name: str) -> bytes | None:
        """Return what tells a gateway key's secret from another; None: there is no such key."""
        secret = next((secret for key, secret in self.keys if key.name == name), None)
        return None if secret is None else _mark(secret)

    def changed_since(self, before: Credentials) -> set[str]:
        """Return the deployments of which a secret is another one than `before`."""
        return {name for name, marks in self._marks.items() if before._marks.get(name, marks) != marks}


async def read_credentials(project: ProjectFile, environ: Mapping[str, str]) -> Credentials:
    """Read every secret that a project names, all at once and each of them once.

    Raises:
        ConfigError: one is missing; the first in the order of the file, by file, line and key.
    """
    refs = list(dict.fromkeys(use.ref for use in project.secrets))
    tokens = await asyncio.gather(*(credential_source(ref, environ).token() for ref in refs), return_exceptions=True)
    read: dict[SecretLike, Secret] = {}
    for ref, token in zip(refs, tokens, strict=True):
        if isinstance(token, BaseException):
            if not isinstance(token, (ConfigError, ValueError)):
                raise token
            where = next(use.where for use in project.secrets if use.ref == ref)
            raise ConfigError(f"{where}: {token}") from None
        read[ref] = token
    return Credentials(project, read)


def careless(project: ProjectFile) -> list[str]:
    """Return a line for each file with a secret in it that every user of this machine may read."""
    files = {use.ref.from_file for use in project.secrets if use.ref.from_file is not None}
    if any(use.ref.inline is not None for use in project.secrets):
        files.add(str(project.path))
    return [
        f"{printable(str(file))} holds a secret and can be read by every user of this machine; chmod 600 it"
        for file in sorted(files)
        if world_readable(file)
    ]


def _mark(secret: Secret) -> bytes:
    return hashlib.sha256(secret.reveal().encode("utf-8", "surrogatepass")).digest()
