"""`spillway demo --serve`: a gateway on simulated providers, with traffic, its dashboard, and a way to break one."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import click
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from spillway.core.clock import loop_clock, sleep
from spillway.core.errors import ConfigError
from spillway.demo import living
from spillway.demo.traffic import keep_asking
from spillway.gateway import Gateway
from spillway.gateway.admin.demo import Demonstration
from spillway.runtime.cluster import Cluster
from spillway.runtime.loops import LoopThread, new_event_loop
from spillway.sim import Simulator

HOST = "127.0.0.1"
_PATIENCE_S = 10.0


def serve(port: int, say: Callable[[str, str], None]) -> int:
    """Run until Ctrl-C or SIGTERM and return the exit code.

    Args:
        port: on loopback; see `check_port`.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_serve(port, say))


async def _serve(port: int, say: Callable[[str, str], None]) -> int:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    signals: list[int] = []

    def end(number: int) -> None:
        signals.append(number)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    async with AsyncExitStack() as stack:
        providers = LoopThread()
        stack.push_async_callback(asyncio.to_thread, providers.close)
        sim = Simulator(living.providers())
        await asyncio.to_thread(providers.run, sim.start)
        stack.push_async_callback(asyncio.to_thread, providers.run, sim.aclose)
        cluster = await stack.enter_async_context(Cluster(living.deployments(sim.url), drain_s=1.0))
        gateway = Gateway(cluster, living.keys())
        Demonstration(living.PROVIDERS, lambda broken: sim.set_scenario(living.scenario(broken))).join(gateway)
        url = f"http://{HOST}:{port}"
        server = Server(
            gateway, HOST, port, interface=Interfaces.ASGINL, http=HTTPModes.http1, websockets=False, log_enabled=False
        )
        serving = loop.create_task(server.serve())
        stack.push_async_callback(_stop, gateway, server, serving)
        await _listening(port, serving)
        traffic = loop.create_task(keep_asking(url, loop_clock()))
        stack.push_async_callback(_cancel, traffic)
        click.echo(f"dashboard: {url}/dashboard")
        say("try", f"curl {url}/v1/models -H 'authorization: Bearer {living.KEYS['search']}'")
        say("stop", "Ctrl-C")
        await ended.wait()
    return 130 if signals[0] == signal.SIGINT else 0


async def _listening(port: int, serving: asyncio.Task[None]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await sleep(0.02)
            else:
                writer.close()
                return
    await serving


async def _stop(gateway: Gateway, server: Server, serving: asyncio.Task[None]) -> None:
    """End the gateway: those who look are told, then the server ends."""
    gateway.draining = True
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            while gateway.in_flight:
                await sleep(0.02)
    server.stop()  # type: ignore[no-untyped-call] # granian says nothing of its types
    await serving


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def check_port(port: int) -> int:
    """Return `port`, or a free one for 0.

    Raises:
        ConfigError: it is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"--port {port}: {error.strerror}; --port 0 picks a free one") from None
        return int(probe.getsockname()[1])
