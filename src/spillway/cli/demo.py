"""`spillway demo`: the same prompts through a naive loop and through Spillway, on providers that misbehave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

EPILOG = """\b
Examples:
  spillway demo
  spillway demo --serve"""


@click.command(epilog=EPILOG)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--serve", "serves", is_flag=True, help="Then keep a gateway with its dashboard on such providers.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Of --serve; 0 picks a free one."
)
def command(*, as_json: bool, serves: bool, port: int) -> None:
    """Watch 300 prompts survive three misbehaving providers.

    Needs no configuration, no key and no network: the providers are simulated on loopback. They answer 429 and 503,
    stall, cut streams and one of them is down for 5 s. The same prompts go through a naive loop of a client and three
    retries, then through Spillway. Exits 1 unless every prompt was answered exactly once.

    With --serve a gateway goes on with traffic of its own; its dashboard has a button that breaks a provider.
    """
    import asyncio

    from spillway.cli.output import print_json, say
    from spillway.core.clock import monotonic
    from spillway.demo import scene
    from spillway.demo.play import as_values, conclusion, play, show, succeeded
    from spillway.demo.screen import Bars
    from spillway.runtime.loops import new_event_loop

    serve = _server(port) if serves else None
    with Bars(scene.PROMPTS, monotonic) as bars, asyncio.Runner(loop_factory=new_event_loop) as runner:
        found = runner.run(play(bars))
    if as_json:
        print_json(as_values(found))
        click.echo(conclusion(found), err=True)
    else:
        show(found)
    code = 0 if serve is None else serve(say)
    if code or not succeeded(found):
        raise SystemExit(code or 1)


def _server(port: int) -> Callable[[Callable[[str, str], None]], int]:
    """Return what serves on a port until it is told to stop.

    Raises:
        ConfigError: an extra is missing, or the port is taken.
    """
    from functools import partial

    from spillway.core.errors import ConfigError

    try:
        from spillway.cli.demo_serve import check_port, serve
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--serve: {error.name} is missing; the extra gateway brings it: pip install 'spillway[gateway]'"
        ) from None
    return partial(serve, check_port(port))
