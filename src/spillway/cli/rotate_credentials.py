"""`spillway rotate-credentials`: a running gateway reads the secret of one deployment again."""

from __future__ import annotations

import click

PATIENCE_S = 75.0
"""Longer than the gateway gives a secret's source."""


@click.command(epilog="Example: spillway rotate-credentials gpt-4o-mini")
@click.argument("name")
@click.option("-c", "--config", metavar="FILE", help="Default: ./spillway.toml, then $SPILLWAY_CONFIG.")
@click.option("--url", metavar="URL", help="Default: [gateway] bind of the project file.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done, and the state after it, as JSON.")
def command(*, name: str, config: str | None, url: str | None, as_json: bool) -> None:
    """Have a running gateway read the secret of a deployment again.

    The session of deployment NAME is rebuilt with what its source says now; nothing in flight is dropped.
    """
    from spillway.cli.admin_client import admin_client, segment
    from spillway.cli.output import print_json

    client = admin_client(url, config, timeout_s=PATIENCE_S)
    done = client.post(f"/admin/deployments/{segment(name)}/rebuild-session")
    if as_json:
        print_json(done)
    else:
        click.echo(f"{name}: {done['did']}")
