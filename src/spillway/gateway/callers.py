"""Who asks: the gateway keys of the project file and of the state file, found by what a caller shows."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from spillway.core.clock import wall_now
from spillway.core.errors import ConfigError, InvalidApiKey
from spillway.core.secrets import Secret
from spillway.gateway.caller import Caller, KeyGate, KeyHold, of_key, settle
from spillway.remote.cost import usd_to_pico
from spillway.runtime.project import GatewayKey

if TYPE_CHECKING:
    from spillway.core.clock import Clock
    from spillway.stores.shared import Sharing
    from spillway.stores.sqlite import SqliteState, StoredKey

__all__ = ["LONGEST_KEY", "Caller", "Callers", "KeyGate", "KeyHold", "of_key", "settle"]

_logger = logging.getLogger("spillway.gateway")

LONGEST_KEY = 512
"""Characters of a key; a longer one is refused unread."""

_NOBODY = GatewayKey(name="open", key=Secret("-"), max_priority="critical")
"""Who asks where no key is asked for."""

_SHOWN = frozenset({"authorization", "x-api-key"})

_UNREAD = Secret("-")
"""In the settings of a key whose secret nobody has."""


class _Known(NamedTuple):
    """What a digest leads to, and the second of Unix time from which it does not any more."""

    caller: Caller
    until: int | None


class Callers:
    """All keys of a gateway.

    A key is found by its SHA-256, so that nothing is compared byte by byte: how long a look-up takes depends on a
    digest that the caller can't steer, and tells nothing of the keys that exist. It costs the same with 10,000 keys.

    Args:
        keys: those of the project file, with their secrets.
        clock: monotonic seconds.
        state: what they have spent before, and further keys, which may change at any time.
        sharing: through which their limits and caps hold over all gateways of a store; None: each has its own.

    Raises:
        ConfigError: two keys are the same.

    Without a key in either place, revoked ones included, everybody is `open`, which the command allows on loopback
    only. Must be made on the loop that serves where there is a state.
    """

    def __init__(
        self,
        keys: Iterable[tuple[GatewayKey, Secret]],
        clock: Clock,
        state: SqliteState | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self._clock = clock
        self._state = state
        self._sharing = sharing
        self._journal = "" if state is None or sharing is None else str(state.identity)
        self._by_name: dict[str, Caller] = {}
        self._by_digest: dict[bytes, _Known] = {}
        self._file: tuple[tuple[GatewayKey, Secret], ...] = ()
        self._stored: list[StoredKey] = []
        self._nobody: Caller | None = None
        self._past: dict[str, list[tuple[float, int]]] | None = {} if state is None else state.spent("key")
        if state is not None:
            self._stored = state.watch_keys(self.take_stored)
        self.replace(keys)
        self._past = None

    @property
    def open(self) -> bool:
        """Whether no key is asked for."""
        return self._nobody is not None

    @property
    def every(self) -> list[Caller]:
        """All callers with a key that is known now."""
        return list({known.caller.name: known.caller for known in self._by_digest.values()}.values())

    def replace(self, keys: Iterable[tuple[GatewayKey, Secret]]) -> None:
        """Take other keys of the project file; who keeps the name keeps windows and spend, what is under way goes on.

        Raises:
            ConfigError: two keys are the same; nothing has changed.
        """
        keys = tuple(keys)
        names: dict[bytes, str] = {}
        for settings, secret in keys:
            other = names.setdefault(_digest(secret.reveal()), settings.name)
            if other != settings.name:
                raise ConfigError(f"the gateway keys {other!r} and {settings.name!r} are the same key")
        self._file = keys
        self._lay_out()

    def take_stored(self, keys: list[StoredKey]) -> None:
        """Take other keys of the state file, as `replace` takes those of the project file."""
        self._stored = keys
        self._lay_out()

    def identify(self, headers: Mapping[str, str], repeated: AbstractSet[str]) -> Caller:
        """Return who shows which key, in `Authorization: Bearer` or `x-api-key`.

        Raises:
            InvalidApiKey: none, more than one, or one that is not known.
        """
        if self._nobody is not None:
            return self._nobody
        if repeated and not _SHOWN.isdisjoint(repeated):
            raise InvalidApiKey("more than one key was shown")
        key = headers.get("x-api-key", "")
        if not key:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            key = token if scheme.lower() == "bearer" else ""
        if not key:
            raise InvalidApiKey("no key was shown; send it as Authorization: Bearer")
        found = self._by_digest.get(_digest(key)) if len(key) <= LONGEST_KEY else None
        if found is None or (found.until is not None and found.until <= wall_now().timestamp()):
            raise InvalidApiKey("the key is not valid")
        return found.caller

    def _lay_out(self) -> None:
        by_digest: dict[bytes, _Known] = {}
        in_file = {settings.name for settings, _ in self._file}
        for key in self._stored:
            if key.name in in_file:
                _logger.warning("the key %r of the state file is ignored: the project file has one", key.name)
                continue
            if not key.digests:
                continue
            limits = msgspec.structs.asdict(key.limits)
            caller = self._caller(GatewayKey(name=key.name, key=_UNREAD, **limits))
            for digest, until in key.digests:
                ends = [end for end in (until, key.expires_at) if end is not None]
                by_digest[digest] = _Known(caller, min(ends, default=None))
        for settings, secret in self._file:
            plain = msgspec.structs.replace(settings, key=_UNREAD)
            by_digest[_digest(secret.reveal())] = _Known(self._caller(plain), None)
        self._by_digest = by_digest
        if self._file or self._stored:
            self._nobody = None
        elif self._nobody is None:
            self._nobody = self._caller(_NOBODY)

    def _caller(self, settings: GatewayKey) -> Caller:
        """Return the caller of a name with these settings, the one there was if there was one."""
        name, state = settings.name, self._state
        caller = self._by_name.get(name)
        if caller is None:
            caller = self._by_name[name] = Caller(
                settings, self._clock, self._spent(name), sharing=self._sharing, journal=self._journal
            )
        elif caller.settings != settings:
            newly_capped = settings.max_spend_per_day_usd is not None and not caller.capped
            caller.apply(settings, self._spent(name) if newly_capped else ())
        if state is not None:
            cap = settings.max_spend_per_day_usd
            state.cap_key(name, None if cap is None else usd_to_pico(cap))
        return caller

    def _spent(self, name: str) -> list[tuple[float, int]]:
        """Return what a key has spent before; at the start all were read at once."""
        past, state = self._past, self._state
        if past is None:
            past = {} if state is None else state.spent("key", name)
        return past.get(name, [])

    def __repr__(self) -> str:
        return f"<Callers {'open' if self._nobody is not None else len(self.every)}>"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
