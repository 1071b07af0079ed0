"""`spillway sim`: the provider simulator as a process."""

from __future__ import annotations

import asyncio
import math
import signal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spillway.sim import SimConfig

EPILOG = """\b
Examples:
  spillway sim --port 9100
  spillway sim --port 0 --seed 7 --limit '*=600,200000' --limit sk-a=60,-,10
  spillway sim --scenario outage.toml"""


@click.command(epilog=EPILOG)
@click.option("--port", type=click.IntRange(0, 65535), default=9100, show_default=True, help="0 picks a free one.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides every answer and every fault's throw.")
@click.option("--latency-s", type=float, default=0.02, show_default=True, help="Seconds before an answer.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="KEY=RPM,TPM[,WINDOW_S]",
    help="What a key may send a minute, judged over WINDOW_S (60); `-`: no limit; KEY `*`: all others. Repeatable.",
)
@click.option("--scenario", metavar="FILE", help="Faults by time, path and probability, in TOML.")
def command(port: int, seed: int, latency_s: float, limits: tuple[str, ...], scenario: str | None) -> None:
    """Run the provider simulator.

    OpenAI under /v1, Azure under /openai, Anthropic under /v1/messages, Gemini under /v1beta, Vertex under
    /v1/projects, LiteLLM as OpenAI. GET /sim/stats tells what it saw. It listens on loopback only and prints its URL.
    """
    if not (math.isfinite(latency_s) and latency_s >= 0):
        raise click.BadParameter("must be a number of seconds of at least 0", param_hint="--latency-s")
    from spillway.sim import LimitError, Scenario, ScenarioError, SimConfig, parse_limit

    try:
        specs = tuple(parse_limit(text) for text in limits)
        faults = Scenario() if scenario is None else Scenario.from_file(scenario)
    except (LimitError, ScenarioError) as error:
        raise click.UsageError(str(error)) from error
    asyncio.run(_serve(SimConfig(seed=seed, latency_s=latency_s, limits=specs, scenario=faults), port))


async def _serve(config: SimConfig, port: int) -> None:
    """Serve until SIGTERM; Ctrl-C cancels it, and the simulator closes all the same."""
    from spillway.sim import Simulator

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    simulator = Simulator(config)
    try:
        await simulator.start(port=port)
        click.echo(f"spillway sim listening on {simulator.url}")
        await stop.wait()
    finally:
        await simulator.aclose()
