"""`spillway cost-report`: what a gateway has spent, by deployment, model, key or day."""

from __future__ import annotations

import click

from spillway.cli.output import print_json, print_table

EPILOG = """\b
Examples:
  spillway cost-report
  spillway cost-report --by key --since 2026-01-01
  spillway cost-report --by day --json --url http://10.0.0.5:8080"""

_COUNTS = ("requests", "input_tokens", "output_tokens", "cached_tokens")


@click.command(epilog=EPILOG)
@click.option("--url", metavar="URL", help="The gateway; default: [gateway] bind of the project file.")
@click.option(
    "-c", "--config", metavar="FILE", help="The project file; default: ./spillway.toml, then $SPILLWAY_CONFIG."
)
@click.option(
    "--by",
    type=click.Choice(["deployment", "model", "key", "day"]),
    default="deployment",
    show_default=True,
    help="What a line is about.",
)
@click.option("--since", metavar="YYYY-MM-DD", help="From that day on (UTC); default: everything on record.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(url: str | None, config: str | None, by: str, since: str | None, *, as_json: bool) -> None:
    """Show what a running gateway has spent, and the tokens it took.

    The admin key comes from the project file, else from $SPILLWAY_ADMIN_KEY.
    """
    from spillway.cli.admin_client import admin_client

    query = {"by": by} | ({} if since is None else {"since": since})
    answer = admin_client(url, config).get("/admin/costs", query)
    if as_json:
        print_json(answer)
        return
    rows = answer["rows"]
    total = {field: sum(row[field] for row in rows) for field in (*_COUNTS, "cost_usd", "estimated_usd", "margin_usd")}
    lines = [(row[by] or "-", row) for row in rows] + [("total", total)]
    extra = [
        (heading, field)
        for heading, field in (("of it estimated", "estimated_usd"), ("margin", "margin_usd"))
        if total[field]
    ]
    print_table(
        (by, "requests", "input tokens", "output tokens", "cached", "USD", *(heading for heading, _ in extra)),
        [
            (
                name,
                *(f"{row[field]:,}" for field in _COUNTS),
                _usd(row["cost_usd"]),
                *(_usd(row[field]) for _, field in extra),
            )
            for name, row in lines
        ],
    )


def _usd(amount: float) -> str:
    return f"{amount:,.6f}"
