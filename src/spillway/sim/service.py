"""The simulator as a process: say where it listens, run until told to stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable

from spillway.sim.config import SimConfig
from spillway.sim.server import Simulator


def run_forever(
    config: SimConfig,
    port: int = 0,
    *,
    host: str = "127.0.0.1",
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> None:
    """Run a simulator until SIGINT or SIGTERM; prints one line with its URL to stdout once it listens.

    Raises:
        OSError: The port is taken.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(config, host, port))


async def _serve(config: SimConfig, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    simulator = Simulator(config)
    await simulator.start(host, port)
    try:
        sys.stdout.write(f"spillway sim listening on {simulator.url}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await simulator.aclose()
