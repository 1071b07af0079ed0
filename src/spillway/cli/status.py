"""`spillway status`: the deployments of a running gateway, once or again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from spillway.cli.admin_client import AdminClient

EVERY_S = 1.0
HEADINGS = ("deployment", "state", "busy", "queued", "limits used", "p50", "p95", "failed", "spent", "budget")
EPILOG = """\b
Examples:
  spillway status
  spillway status --url http://127.0.0.1:8080 --watch
  spillway status --json"""


@click.command(epilog=EPILOG)
@click.option("-c", "--config", metavar="FILE", help="Default: ./spillway.toml, then $SPILLWAY_CONFIG.")
@click.option("--url", metavar="URL", help="Default: [gateway] bind of the project file.")
@click.option("--watch", is_flag=True, help="Again every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; with --watch one line each second.")
def command(*, config: str | None, url: str | None, watch: bool, as_json: bool) -> None:
    """Show the deployments of a running gateway: queue, in flight, breaker, limits, spend."""
    from spillway.cli.admin_client import admin_client
    from spillway.cli.output import print_json

    client = admin_client(url, config)
    if watch:
        _watch(client, as_json=as_json)
        return
    state = client.get("/admin/deployments")
    if as_json:
        print_json(state)
        return
    _show(state)


def _show(state: dict[str, Any]) -> None:
    from spillway.cli.output import print_table

    print_table(HEADINGS, rows(state))
    for line in (*legend(state), summary(state)):
        click.echo(line)


def rows(state: dict[str, Any]) -> list[list[str]]:
    """Return a row for each deployment, as `HEADINGS` has it."""
    return [_row(deployment) for deployment in state["deployments"]]


def summary(state: dict[str, Any]) -> str:
    """Return the last 15 minutes in one line."""
    told = state["gateway"]["last_15_min"]
    asked = sum(told[kind] for kind in ("ok", "limited", "refused", "failed", "left"))
    ready = "ready" if state["gateway"]["ready"] else "not ready"
    return (
        f"{ready}; last 15 minutes: {asked:,} requests, {told['ok']:,} ok, {told['limited']:,} limited, "
        f"{told['refused']:,} refused, {told['failed']:,} failed, p95 {_time(told['p95_s'])}"
    )


def _row(told: dict[str, Any]) -> list[str]:
    quarter = told["last_15_min"] or {}
    windows = [] if told["budget"] is None else told["budget"]["windows"]
    return [
        told["name"],
        state_of(told),
        f"{told['busy']:,}/{told['workers']:,}",
        f"{told['queued']:,}/{told['queue_capacity']:,}",
        _limits(told["limits"]),
        _time(quarter.get("p50_s")),
        _time(quarter.get("p95_s")),
        f"{quarter.get('failed', 0):,}",
        "unknown" if told["spent_usd"] is None else f"${told['spent_usd']:.4f}",
        " ".join([*(f"${w['spent_usd']:.2f}/${w['cap_usd']:g} a {w['per']}" for w in windows), *_lost(told)]) or "-",
    ]


def legend(state: dict[str, Any]) -> list[str]:
    """Return what the words in brackets mean, a line for each that the table has: all say that the store is lost."""
    from spillway.core.limit_store import WITHOUT_STORE
    from spillway.remote.cost import STORE_LOST_MEANS

    deployments = state["deployments"]
    lines = []
    if any(told["breaker"]["shared"] is False for told in deployments):
        lines.append("(alone) the store is lost, and the circuit is this process's own")
    modes = {told["limits"]["mode"] for told in deployments if told["limits"]["windows"]}
    lines += [f"({mode}) {means}" for mode, means in WITHOUT_STORE.items() if mode in modes]
    if any(_lost(told) for told in deployments):
        lines.append(f"(store lost) {STORE_LOST_MEANS}")
    keys = [key["name"] for key in state["keys"] if _lost(key)]
    if keys:
        lines.append(f"budgets of the keys {', '.join(keys)}: {STORE_LOST_MEANS}")
    return lines


def _lost(told: dict[str, Any]) -> list[str]:
    """Return the word for a budget whose store is lost, if it is."""
    budget = told["budget"]
    return ["(store lost)"] if budget is not None and budget["mode"] == "store_lost" else []


def state_of(told: dict[str, Any]) -> str:
    """Return what a deployment does in a word or two, and whether its circuit is this process's own."""
    does = _does(told)
    return f"{does} (alone)" if told["breaker"]["shared"] is False else does


def _does(told: dict[str, Any]) -> str:
    breaker = told["breaker"]
    if not told["in_service"]:
        return "draining" if told["busy"] else "out of service"
    if breaker["state"] == "OPEN":
        wait = breaker["retry_after_s"]
        return f"open {wait:.0f} s" if wait else "open"
    if breaker["state"] == "HALF_OPEN":
        return "probing"
    if told["limits"]["blocked_for_s"]:
        return f"told to wait {told['limits']['blocked_for_s']:.0f} s"
    return "serving" if told["healthy"] else "refused"


def _limits(told: dict[str, Any]) -> str:
    """Return what is used of each limit, and how they are held where the store is lost."""
    from spillway.core.limit_store import WITHOUT_STORE

    used = [_used(window) for window in told["windows"]]
    return " ".join([*used, f"({told['mode']})"] if used and told["mode"] in WITHOUT_STORE else used) or "-"


def _used(window: dict[str, Any]) -> str:
    name = window["limit"].removesuffix("_per_minute")
    short = {"requests": "req", "tokens": "tok", "input_tokens": "in", "output_tokens": "out"}.get(name, "at-once")
    return f"{short} {100 * window['used'] / window['in_use']:.0f}%"


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _watch(client: AdminClient, *, as_json: bool) -> None:
    import json
    import threading

    from spillway.cli.admin_client import AdminError
    from spillway.cli.output import say

    lost, never = False, threading.Event()
    while True:
        try:
            state = client.get("/admin/deployments")
        except AdminError as error:
            if not lost:
                say("warning", f"{error}; still trying")
            lost = True
        else:
            lost = False
            if as_json:
                click.echo(json.dumps(state, ensure_ascii=False))
            else:
                click.clear()
                _show(state)
        never.wait(EVERY_S)
