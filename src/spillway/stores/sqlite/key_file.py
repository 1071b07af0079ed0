"""Gateway keys in the state file: names, limits and digests; a key itself is nowhere in it.

A key is 256 random bits, so its bare SHA-256 can be found neither by trying nor by tables, and a salted or slow hash
would protect nothing more.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import msgspec

from spillway.core.clock import new_secret, wall_now
from spillway.core.errors import ConfigError
from spillway.core.secrets import Secret
from spillway.stores.sqlite.schema import open_state, told, transaction

PREFIX = "sk-spillway-"


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a key may do; the fields of `[[gateway.keys]]`."""

    max_spend_per_day_usd: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    models: tuple[str, ...] = ()
    max_priority: str = "normal"


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the file.

    Attributes:
        digests: by which it is known, each with the second (Unix time) until which it is; None: without end.
        created_at: seconds of Unix time, as are the next two.
        revoked_at: None: it is not.
    """

    name: str
    limits: KeyLimits
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    digests: tuple[tuple[bytes, int | None], ...] = ()

    def state(self, now: float) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def read_keys(connection: sqlite3.Connection) -> list[StoredKey]:
    """Return all keys, by name."""
    digests: dict[str, list[tuple[bytes, int | None]]] = {}
    for digest, name, until in connection.execute("SELECT digest, name, valid_until FROM secrets"):
        digests.setdefault(name, []).append((digest, until))
    rows = connection.execute("SELECT name, settings, created_at, expires_at, revoked_at FROM keys ORDER BY name")
    return [
        StoredKey(
            name=name,
            limits=msgspec.json.decode(settings, type=KeyLimits),
            created_at=created,
            expires_at=expires,
            revoked_at=revoked,
            digests=tuple(digests.get(name, ())) if revoked is None else (),
        )
        for name, settings, created, expires, revoked in rows
    ]


def mark(connection: sqlite3.Connection, name: str) -> int:
    """Return `keys`, how often keys have been changed, or `identity`, which no other file has."""
    (value,) = connection.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
    return int(value)


class KeyFile:
    """The keys of a state file, for whoever manages them; a running gateway sees a change within a second.

    Args:
        path: the state file.
        make: create it when there is none.

    Raises:
        ConfigError: it can't be used.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self._path = path
        self._connection = open_state(path, make=make)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def all(self) -> list[StoredKey]:
        """Return all keys, by name, revoked ones included."""
        with told(self._path):
            return read_keys(self._connection)

    def create(self, name: str, limits: KeyLimits, *, expires_at: int | None = None) -> Secret:
        """Make a key and return it; it can't be had again.

        Raises:
            ConfigError: there is a key of that name that is not revoked.
        """
        now = _now()
        with told(self._path), _change(self._connection) as connection:
            known = self._find(name)
            if known is not None and known.revoked_at is None:
                raise ConfigError(f"there is a key {name!r} already; rotate it, or revoke it first")
            connection.execute("DELETE FROM secrets WHERE name = ?", (name,))
            settings = msgspec.json.encode(limits).decode()
            connection.execute(
                "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, NULL)", (name, settings, now, expires_at)
            )
            return _new(connection, name, now)

    def revoke(self, name: str) -> StoredKey:
        """Let a key be known no more; what it has spent stays on record.

        Raises:
            ConfigError: there is no such key, or it is revoked.
        """
        with told(self._path), _change(self._connection) as connection:
            key = self._active(name)
            connection.execute("UPDATE keys SET revoked_at = ? WHERE name = ?", (_now(), name))
            connection.execute("DELETE FROM secrets WHERE name = ?", (name,))
        return key

    def rotate(self, name: str, *, grace_s: int = 0) -> Secret:
        """Make a new secret for a key and return it; limits and spend go on.

        Args:
            grace_s: seconds for which the old one is known beside it.

        Raises:
            ConfigError: there is no such key, or it is revoked.
        """
        now = _now()
        with told(self._path), _change(self._connection) as connection:
            self._active(name)
            connection.execute("DELETE FROM secrets WHERE name = ? AND valid_until <= ?", (name, now))
            connection.execute(
                "UPDATE secrets SET valid_until = min(coalesce(valid_until, :until), :until) WHERE name = :name",
                {"until": now + grace_s, "name": name},
            )
            return _new(connection, name, now)

    def _find(self, name: str) -> StoredKey | None:
        return next((key for key in read_keys(self._connection) if key.name == name), None)

    def _active(self, name: str) -> StoredKey:
        key = self._find(name)
        if key is None:
            known = ", ".join(each.name for each in read_keys(self._connection) if each.revoked_at is None)
            raise ConfigError(f"no key {name!r} in {self._path} (known: {known or 'none'})")
        if key.revoked_at is not None:
            raise ConfigError(f"the key {name!r} is revoked; `spillway keys create` makes a new one of that name")
        return key


@contextmanager
def _change(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Have a change of keys happen and be noticed, or none of it."""
    with transaction(connection):
        yield connection
        connection.execute("UPDATE marks SET value = value + 1 WHERE name = 'keys'")


def _new(connection: sqlite3.Connection, name: str, now: int) -> Secret:
    key = PREFIX + new_secret()
    digest = hashlib.sha256(key.encode()).digest()
    connection.execute("INSERT INTO secrets VALUES (?, ?, ?, NULL)", (digest, name, now))
    return Secret(key)


def _now() -> int:
    return int(wall_now().timestamp())
