"""The gateway as a process of its own: granian on one event loop, ended by SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from spillway.core.errors import ConfigError
from spillway.gateway.app import Gateway
from spillway.providers.secret_plugins import credential_source
from spillway.runtime.cluster import Cluster
from spillway.runtime.config import environment
from spillway.stores.sqlite import KeyFile

if TYPE_CHECKING:
    from spillway.runtime.project import ProjectFile

HEADER_TIMEOUT_MS = 10_000
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def serve(project: ProjectFile, *, bind: str, workers: int, say: Callable[[str, str], None]) -> None:
    """Run the gateway of a project file until SIGTERM.

    Raises:
        ConfigError: it can't be run so.
    """
    host, _, port = bind.rpartition(":")
    if workers > 1 and project.cluster.store == "memory":
        raise ConfigError('--workers above 1 needs [cluster] store = "redis://…": limits and budgets would multiply')
    if not project.gateway.keys and host not in LOOPBACK and not _stored_keys(project):
        raise ConfigError(f"{bind} is open to others and [[gateway.keys]] names no key; add one, or bind to 127.0.0.1")
    runner = _Running(project, host, int(port), say)
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        asyncio.run(runner.run())
    else:
        uvloop.run(runner.run())


def _stored_keys(project: ProjectFile) -> bool:
    """Return whether the state file names a key."""
    state = Path(project.cluster.state)
    if not project.cluster.state or not state.exists():
        return False
    with KeyFile(state) as file:
        return bool(file.all())


class _Running:
    def __init__(self, project: ProjectFile, host: str, port: int, say: Callable[[str, str], None]) -> None:
        self._project = project
        self._host = host
        self._port = port
        self._say = say

    async def run(self) -> None:
        project = self._project
        environ = environment()
        keys = [(key, await credential_source(key.key, environ).token()) for key in project.gateway.keys]
        cluster = Cluster(project.deployments, drain_s=30.0, state=project.cluster.state or None)
        admin = project.gateway.admin_key
        admin_key = None if admin is None else await credential_source(admin, environ).token()
        named = project.gateway.hosts
        hosts = named if named or self._host in LOOPBACK else None
        gateway = Gateway(cluster, keys, admin_key=admin_key, hosts=hosts)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with cluster:
            _ = gateway.callers  # what is wrong with the keys is said before anybody is served
            server = Server(
                gateway,
                self._host,
                self._port,
                interface=Interfaces.ASGINL,
                http=HTTPModes.http1,
                websockets=False,
                backlog=1024,
                http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS),
                log_enabled=False,
            )
            serving = asyncio.create_task(server.serve())
            self._say("serving", f"http://{self._host}:{self._port}")
            await stop.wait()
            gateway.draining = True
            server.stop()  # type: ignore[no-untyped-call] # granian says nothing of its types
            await serving
