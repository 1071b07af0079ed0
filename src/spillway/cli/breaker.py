"""`spillway breaker`: an operator's word on the circuit breaker of a running gateway's deployment."""

from __future__ import annotations

import click

EPILOG = """\b
Examples:
  spillway breaker open gpt-4o-mini --for 600
  spillway breaker close gpt-4o-mini"""


@click.command(epilog=EPILOG)
@click.argument("action", type=click.Choice(["open", "close"]))
@click.argument("name")
@click.option(
    "--for",
    "for_s",
    type=click.FloatRange(0, 604_800, min_open=True),
    metavar="SECONDS",
    help="Open: for so long, 300 by default. Close: held closed for so long, whatever comes.",
)
@click.option("-c", "--config", metavar="FILE", help="Default: ./spillway.toml, then $SPILLWAY_CONFIG.")
@click.option("--url", metavar="URL", help="Default: [gateway] bind of the project file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done, and the state after it, as JSON.")
def command(*, action: str, name: str, for_s: float | None, config: str | None, url: str | None, as_json: bool) -> None:
    """Force the circuit of a running gateway's deployment open, or close it.

    NAME is a deployment's, not a group's. What is in flight goes on.
    """
    from spillway.cli.admin_client import admin_client, segment
    from spillway.cli.output import print_json

    body = {"action": action} | ({} if for_s is None else {"for_s": for_s})
    done = admin_client(url, config).post(f"/admin/deployments/{segment(name)}/breaker", body)
    if as_json:
        print_json(done)
    else:
        click.echo(f"{name}: {done['did']}")
