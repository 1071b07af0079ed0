"""`spillway serve`: the gateway as a process."""

from __future__ import annotations

import sys

import click

EPILOG = """\b
Examples:
  spillway serve
  spillway serve -c production.toml --bind 0.0.0.0:8080
  spillway serve --workers 4"""


@click.command(epilog=EPILOG)
@click.option("-c", "--config", metavar="FILE", help="Default: ./spillway.toml, then $SPILLWAY_CONFIG.")
@click.option("--bind", metavar="HOST:PORT", help="Default: [gateway] bind; port 0 picks a free one.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
def command(config: str | None, bind: str | None, workers: int) -> int:
    """Run the gateway: any SDK in, any provider out.

    SIGHUP reads the project file again; a wrong one changes nothing. SIGTERM and Ctrl-C let what is under way finish
    for 30 s; a second one ends it at once. Several workers need a Redis ([cluster] store) and answer as one.
    """
    from spillway.cli.output import say
    from spillway.core.errors import ConfigError
    from spillway.runtime.config import load, require_config

    project = load(require_config(config))
    try:
        from spillway.gateway.serving import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "spillway":
            raise
        raise ConfigError(
            f"{error.name} is missing; the extra gateway brings it: pip install 'spillway[gateway]'"
        ) from None
    worker = (sys.executable, "-m", "spillway.cli.worker")
    return serve(project, bind=bind or project.gateway.bind, workers=workers, say=say, worker=worker)
