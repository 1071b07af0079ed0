"""`spillway drill`: a cluster of processes is made to fail, and its promises are measured."""

from __future__ import annotations

import asyncio
import math
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from spillway.drill.drill import Drilled
    from spillway.drill.sizes import Size

EPILOG = """\b
Examples:
  spillway drill
  spillway drill --scenario strict --scenario store-lost --seed 7
  spillway drill --size full --report drill.html"""

_LONGEST_PARENT = 50
_NEEDS = (("redis", "redis"), ("granian", "gateway"), ("prometheus_client", "gateway"))
"""Modules that nodes need, and the extras that bring them."""


@click.command(epilog=EPILOG)
@click.option("--scenario", "names", multiple=True, metavar="NAME", help="One of them only; repeatable.")
@click.option("--size", "size_name", type=click.Choice(("small", "full")), default="small", show_default=True)
@click.option("--nodes", type=click.IntRange(2, 32), help="How many; 4 unless given.")
@click.option("--seed", type=int, default=1, show_default=True, help="Decides what goes wrong, and when.")
@click.option("--duration", type=float, metavar="S", help="How long things go wrong in the limits' scenarios.")
@click.option("--window-s", type=float, metavar="S", help="The length of the limits' minute.")
@click.option("--report", type=click.Path(dir_okay=False), metavar="FILE.html", help="Also draw it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(
    names: tuple[str, ...],
    size_name: str,
    nodes: int | None,
    seed: int,
    duration: float | None,
    window_s: float | None,
    report: str | None,
    *,
    as_json: bool,
) -> int:
    """Make a cluster of processes fail and measure what it promises.

    Starts a Redis, gateways or batch processes and a simulated provider on loopback, asks for more than they allow,
    and kills, stops and cuts them off by a plan that follows from the seed. Scenarios: strict, approximate, budget,
    breaker, kills, store-lost. Exits 1 when a promise does not hold. Needs the extras gateway and redis, and
    redis-server.
    """
    from spillway.drill.scenarios.registry import SCENARIOS

    chosen = _chosen(names, tuple(SCENARIOS))
    size = _size(size_name, nodes, duration, window_s)
    if report is not None and not Path(report).parent.is_dir():
        raise click.BadParameter(f"there is no folder {Path(report).parent}", param_hint="--report")
    _check_there()
    drilled = _run(chosen, size, seed, as_json=as_json)
    _show(drilled, as_json=as_json)
    if report is not None:
        from spillway.drill.report import write_report

        write_report(report, drilled)
    return 0 if drilled.holds else 1


def _chosen(names: tuple[str, ...], known: tuple[str, ...]) -> list[str]:
    from spillway.runtime.config_errors import near, quoted

    for name in names:
        if name not in known:
            raise click.BadParameter(
                f"no scenario {quoted(name)} ({near(name, known) or ', '.join(known)})", param_hint="--scenario"
            )
    return [name for name in known if name in names or not names]


def _size(name: str, nodes: int | None, duration: float | None, window_s: float | None) -> Size:
    import msgspec

    from spillway.drill.sizes import SIZES

    for option, value in (("--duration", duration), ("--window-s", window_s)):
        if value is not None and not (math.isfinite(value) and value >= 1):
            raise click.BadParameter("must be a number of seconds of at least 1", param_hint=option)
    size = SIZES[name]
    changes: dict[str, float] = {}
    if nodes is not None:
        changes["nodes"] = nodes
    if duration is not None:
        changes["faults_s"] = duration
    if window_s is not None:
        changes |= {"window_s": window_s, "limit": round(size.limit * window_s / size.window_s)}
    return msgspec.structs.replace(size, **changes)


def _check_there() -> None:
    """Check that everything is installed that the drill starts.

    Raises:
        ConfigError: something is not.
    """
    from importlib.util import find_spec

    from spillway.core.errors import ConfigError
    from spillway.drill.store import find_redis

    for module, extra in _NEEDS:
        if find_spec(module) is None:
            raise ConfigError(f"{module} is missing; the extra {extra} brings it: pip install 'spillway[{extra}]'")
    find_redis()


def _run(names: list[str], size: Size, seed: int, *, as_json: bool) -> Drilled:
    from spillway.cli.output import print_table, say
    from spillway.drill.drill import drill
    from spillway.drill.processes import Folder
    from spillway.drill.scenarios.registry import SCENARIOS
    from spillway.drill.words import plan_rows
    from spillway.runtime.config import environment
    from spillway.runtime.loops import new_event_loop

    if not as_json:
        rows = [row for name in names for row in plan_rows(name, SCENARIOS[name].plan(seed, size))]
        if rows:
            print_table(("scenario", "at", f"plan of seed {seed}"), rows)
            click.echo()
    # The path of a socket holds about a hundred characters.
    parent = None if len(tempfile.gettempdir()) <= _LONGEST_PARENT else "/tmp"  # noqa: S108 - a folder of its own in it
    with (
        Folder(Path(tempfile.mkdtemp(prefix="spillway-drill-", dir=parent))) as folder,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        playing = drill(names, folder.path, dict(environment()), size=size, seed=seed, say=say)
        return runner.run(_until_told(playing))


async def _until_told(playing: Coroutine[Any, Any, Drilled]) -> Drilled:
    """Play to the end; SIGTERM ends it in order, as Ctrl-C does."""
    task = asyncio.ensure_future(playing)
    told: list[int] = []

    def end() -> None:
        told.append(signal.SIGTERM)
        task.cancel()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError:
        if told:
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _show(drilled: Drilled, *, as_json: bool) -> None:
    from spillway.cli.output import print_json, print_table
    from spillway.drill.words import as_values, conclusion, promise_rows

    if as_json:
        print_json(as_values(drilled))
        click.echo(conclusion(drilled), err=True)
    else:
        print_table(("scenario", "promise", "promised", "measured", ""), promise_rows(drilled))
        click.echo()
        click.echo(conclusion(drilled))
