"""`spillway keys`: gateway keys in the state file; a running gateway knows a change within a second."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from spillway.cli.output import print_json, print_table, say
from spillway.core.clock import wall_now
from spillway.core.errors import ConfigError
from spillway.runtime.config import load, require_config

if TYPE_CHECKING:
    from spillway.runtime.project import ProjectFile
    from spillway.stores.sqlite import KeyFile, StoredKey

EPILOG = """\b
Examples:
  spillway keys create team-a --max-spend-per-day 50 --model 'gpt-4o*'
  spillway keys list
  spillway keys rotate team-a --grace 1d
  spillway keys revoke team-a"""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class _Span(click.ParamType[int]):
    """A number of seconds, or of another unit that it names: 90, 30m, 12h, 7d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds that were written."""
        if isinstance(value, int):
            return value
        unit = _UNITS.get(value[-1:])
        digits = value if unit is None else value[:-1]
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
            self.fail(f"must be seconds, or such as 30m, 12h or 7d, not {value!r}", param, ctx)
        return int(digits) * (unit or 1)


_config = click.option(
    "-c", "--config", metavar="FILE", help="The project file; default: ./spillway.toml, then $SPILLWAY_CONFIG."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog=EPILOG)
def command() -> None:
    """Manage gateway keys in the state file.

    A key is shown once, when it is made; the file holds what it can be known by, not what it is.
    """


@command.command(epilog="Example: spillway keys create team-a --rpm 600 --expires-in 30d")
@click.argument("name")
@_config
@click.option("--rpm", "requests_per_minute", type=click.IntRange(min=1), metavar="N", help="Requests per minute.")
@click.option("--tpm", "tokens_per_minute", type=click.IntRange(min=1), metavar="N", help="Tokens per minute.")
@click.option("--max-spend-per-day", type=click.FloatRange(min=0), metavar="USD", help="Spend in any 24 hours.")
@click.option("--model", "models", multiple=True, metavar="PATTERN", help="What it may ask for; may be repeated.")
@click.option(
    "--max-priority",
    type=click.Choice(["background", "normal", "high", "critical"]),
    default="normal",
    show_default=True,
    help="The highest class it may ask for.",
)
@click.option("--expires-in", type=_Span(), metavar="TIME", help="Such as 12h or 30d; default: never.")
@_json
def create(
    name: str,
    config: str | None,
    max_spend_per_day: float | None,
    models: tuple[str, ...],
    expires_in: int | None,
    *,
    as_json: bool,
    **limits: Any,
) -> None:
    """Make a key and print it, this once."""
    from spillway.core.secrets import Secret
    from spillway.runtime.project import GatewayKey
    from spillway.stores.sqlite import KeyLimits

    project = _project(config)
    limits |= {"max_spend_per_day_usd": max_spend_per_day, "models": models}
    try:
        GatewayKey(name=name, key=Secret("-"), **limits)
    except ValueError as error:
        raise ConfigError(f"{error}") from None
    if any(key.name == name for key in project.gateway.keys):
        raise ConfigError(f"{project.path} has a key {name!r}; choose another name")
    expires_at = None if expires_in is None else int(wall_now().timestamp()) + expires_in
    with _file(project, make=True) as file:
        secret = file.create(name, KeyLimits(**limits), expires_at=expires_at)
    _show_once(name, secret.reveal(), as_json=as_json)


@command.command("list", epilog="Example: spillway keys list --json")
@_config
@_json
def list_(config: str | None, *, as_json: bool) -> None:
    """List the keys of the state file and of the project file, with their limits."""
    project = _project(config)
    rows = [_of_file(key) for key in project.gateway.keys]
    if _path(project).exists():
        now = wall_now().timestamp()
        with _file(project) as file:
            rows += [_of_state(key, now) for key in file.all()]
    if as_json:
        print_json(rows)
        return
    headings = ("name", "state", "in", "requests/min", "tokens/min", "USD/day", "models", "priority", "made", "expires")
    print_table(
        headings,
        [
            (
                row["name"],
                row["state"],
                row["in"],
                *(
                    "-" if row[limit] is None else f"{row[limit]:,}"
                    for limit in ("requests_per_minute", "tokens_per_minute", "max_spend_per_day_usd")
                ),
                " ".join(row["models"]) or "all",
                row["max_priority"],
                row["created_at"] or "-",
                row["expires_at"] or "never",
            )
            for row in rows
        ],
    )


@command.command(epilog="Example: spillway keys revoke team-a")
@click.argument("name")
@_config
@_json
def revoke(name: str, config: str | None, *, as_json: bool) -> None:
    """Let a key be known no more.

    What is under way with it is finished; what it has spent stays on record.
    """
    project = _project(config)
    with _existing(project, name) as file:
        file.revoke(name)
    if as_json:
        print_json({"name": name, "state": "revoked"})
    else:
        say("revoked", name)


@command.command(epilog="Example: spillway keys rotate team-a --grace 1d")
@click.argument("name")
@_config
@click.option(
    "--grace", type=_Span(), default=0, metavar="TIME", help="How long the old one is known too, such as 1d; default 0."
)
@_json
def rotate(name: str, config: str | None, grace: int, *, as_json: bool) -> None:
    """Make a new secret for a key and print it, this once; limits and spend go on."""
    project = _project(config)
    with _existing(project, name) as file:
        secret = file.rotate(name, grace_s=grace)
    _show_once(name, secret.reveal(), as_json=as_json)


def _project(config: str | None) -> ProjectFile:
    project = load(require_config(config))
    if not project.cluster.state:
        raise ConfigError(f'{project.path}: [cluster] state = "" keeps no state file; name one to have keys in it')
    return project


def _path(project: ProjectFile) -> Path:
    return Path(project.cluster.state)


def _file(project: ProjectFile, *, make: bool = False) -> KeyFile:
    if find_spec("granian") is None:
        raise ConfigError("granian is missing; the extra gateway brings it: pip install 'spillway[gateway]'")
    from spillway.stores.sqlite import KeyFile

    return KeyFile(_path(project), make=make)


def _existing(project: ProjectFile, name: str) -> KeyFile:
    if any(key.name == name for key in project.gateway.keys):
        raise ConfigError(f"the key {name!r} stands in {project.path}; change it there")
    return _file(project)


def _show_once(name: str, key: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "key": key})
    else:
        click.echo(key)
        say("made", f"{name}; the key is shown this once")


def _of_file(key: Any) -> dict[str, Any]:
    limits = {field: getattr(key, field) for field in _LIMITS}
    return {"name": key.name, "state": "active", "in": "project file", **limits, "created_at": None, "expires_at": None}


def _of_state(key: StoredKey, now: float) -> dict[str, Any]:
    limits = {field: msgspec.to_builtins(getattr(key.limits, field)) for field in _LIMITS}
    return {
        "name": key.name,
        "state": key.state(now),
        "in": "state file",
        **limits,
        "created_at": _instant(key.created_at),
        "expires_at": _instant(key.expires_at),
    }


_LIMITS = ("requests_per_minute", "tokens_per_minute", "max_spend_per_day_usd", "models", "max_priority")


def _instant(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
