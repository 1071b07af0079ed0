"""`spillway demo`: the same prompts through a naive loop and through Spillway, on providers that misbehave."""

from __future__ import annotations

import click


@click.command(epilog="Example: spillway demo")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(*, as_json: bool) -> None:
    """Watch 300 prompts survive three misbehaving providers.

    Needs no configuration, no key and no network: the providers are simulated on loopback. They answer 429 and 503,
    stall, cut streams and one of them is down for 5 s. The same prompts go through a naive loop of a client and three
    retries, then through Spillway. Exits 1 unless every prompt was answered exactly once.
    """
    import asyncio

    from spillway.cli.output import print_json
    from spillway.core.clock import monotonic
    from spillway.demo import scene
    from spillway.demo.play import as_values, conclusion, play, show, succeeded
    from spillway.demo.screen import Bars
    from spillway.runtime.loops import new_event_loop

    with Bars(scene.PROMPTS, monotonic) as bars, asyncio.Runner(loop_factory=new_event_loop) as runner:
        found = runner.run(play(bars))
    if as_json:
        print_json(as_values(found))
        click.echo(conclusion(found), err=True)
    else:
        show(found)
    if not succeeded(found):
        raise SystemExit(1)
