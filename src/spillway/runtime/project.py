"""What a project file says, in structs: the tables around its deployments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from spillway.core.limit_store import STALE_ROUNDS
from spillway.core.options import Deployment, Options
from spillway.core.secrets import SecretLike
from spillway.runtime.config_tables import SecretUse
from spillway.stores.redis import may_be_url

_LONGEST_SYNC_S = 5.0
_DAY_S = 86_400.0
_MINUTE_S = 60.0
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


class ClusterSettings(Options, frozen=True, kw_only=True):
    """What all deployments share.

    Attributes:
        name: what metrics and logs call the whole.
        store: where limits, budgets and breakers are shared: `memory`, or the URL of a Redis.
        sync_s: seconds between two syncs of limits that are kept together by telling.
        allowance_s: what a process may let through of such a limit between two syncs: what the limit is for so many
            seconds; None: for a `sync_s`.
        weight: of this process, where a limit is shared out.
        keep_share_s: for so long the share of such a limit that a silent process may be sending by itself is kept
            free; None: 15 s.
        state: SQLite file in which spend and gateway keys outlive `serve`; empty: none.
    """

    name: str = "spillway"
    store: str = "memory"
    sync_s: float = 1.0
    allowance_s: float | None = None
    weight: float = 1.0
    keep_share_s: float | None = None
    state: str = "spillway.db"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.store != "memory" and not may_be_url(self.store):
            raise ValueError('store must be "memory" or a URL that begins with redis:// or rediss://')
        if not self.name.strip():
            raise ValueError("name must not be empty")
        self._positive("sync_s", "allowance_s", "weight", "keep_share_s")
        if self.sync_s > _LONGEST_SYNC_S:
            raise ValueError(f"sync_s must be at most {_LONGEST_SYNC_S:g}, not {self.sync_s!r}")
        if self.allowance_s is not None and self.allowance_s > _MINUTE_S:
            raise ValueError(f"allowance_s must be at most {_MINUTE_S:g}, not {self.allowance_s!r}")
        if self.keep_share_s is not None and not STALE_ROUNDS * self.sync_s <= self.keep_share_s <= _DAY_S:
            raise ValueError(
                f"keep_share_s must be from {STALE_ROUNDS} times sync_s to {_DAY_S:g}, not {self.keep_share_s!r}"
            )


class GatewayKey(Options, frozen=True, kw_only=True):
    """A key that callers of the gateway show, and what it may do; a limit that is None does not apply.

    Attributes:
        models: names or patterns of what it may ask for; empty: everything.
        max_priority: the highest class it may ask for.
    """

    name: str
    key: SecretLike
    max_spend_per_day_usd: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    models: tuple[str, ...] = ()
    max_priority: Literal["background", "normal", "high", "critical"] = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.strip():
            raise ValueError("name must not be empty")
        self._at_least(0, "max_spend_per_day_usd")
        self._at_least(1, "requests_per_minute", "tokens_per_minute")


class GatewaySettings(Options, frozen=True, kw_only=True):
    """Where the gateway listens, and to whom.

    Attributes:
        bind: `HOST:PORT`.
        admin_key: opens the operator's routes.
        keys: those of the callers.
        hosts: names, without a port, that a request's `Host` may have beside those of loopback; empty: any on an open
            bind, loopback's alone on a loopback bind.
    """

    bind: str = "127.0.0.1:8080"
    admin_key: SecretLike | None = None
    keys: tuple[GatewayKey, ...] = ()
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        host, colon, port = self.bind.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
            raise ValueError("bind must be HOST:PORT, for example 127.0.0.1:8080")
        for name in self.hosts:
            if not _HOST_NAME.fullmatch(name):
                raise ValueError("hosts are names without scheme, port and pattern, for example api.example.com")


class ProjectFile(msgspec.Struct, frozen=True, kw_only=True):
    """A valid project file; relative paths in it are absolute here, and `[defaults]` has gone into the deployments.

    Attributes:
        path: the file, as it was asked for.
        deployments: at least one, in the order of the file.
        secrets: every secret that it names and where.
        store_place: file, line and table of the store, in words.
    """

    path: Path
    cluster: ClusterSettings
    gateway: GatewaySettings
    deployments: tuple[Deployment, ...]
    secrets: tuple[SecretUse, ...] = ()
    store_place: str = ""
