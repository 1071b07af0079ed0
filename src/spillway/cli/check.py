"""`spillway check`: is the project file right, are its secrets there, and with `--live`: do the deployments answer?"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from spillway.cli.output import print_json, print_table, say

if TYPE_CHECKING:
    from spillway.cli.check_live import Seen, StoreSeen
    from spillway.core.limits_seen import LimitsSeen
    from spillway.core.options import Deployment
    from spillway.core.secrets import SecretLike
    from spillway.runtime.prices import PricedModel
    from spillway.runtime.project import ProjectFile

EPILOG = """\b
Examples:
  spillway check
  spillway check -c services/answers/spillway.toml --json
  spillway check --live"""

_REPORTED = ("prices", "store", "rate_limit", "budget", "circuit_breaker")
_UNITS = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "input_tokens_per_minute": "input tokens/min",
    "output_tokens_per_minute": "output tokens/min",
    "concurrent_requests": "at once",
    "max_spend_per_hour_usd": "USD/h",
    "max_spend_per_day_usd": "USD/day",
    "max_spend_per_month_usd": "USD/month",
}


class _Secret(msgspec.Struct, frozen=True):
    """Where a secret is looked for, and whether one is there."""

    place: str
    state: str


class _Price(msgspec.Struct, frozen=True):
    """What tokens cost now, in USD per million, and who says so."""

    source: str
    input_per_mtok_usd: float | None = None
    output_per_mtok_usd: float | None = None


class _Row(msgspec.Struct, frozen=True):
    """A deployment as the table shows it."""

    name: str
    group: str | None
    runtime: str | None
    model: str
    limits: dict[str, int]
    budget: dict[str, float]
    price: _Price
    secrets: list[_Secret]


class _Report(msgspec.Struct):
    """What `--json` prints."""

    file: str
    ok: bool
    problems: list[str]
    warnings: list[str]
    deployments: list[_Row]
    store: StoreSeen | None = None
    live: list[Seen] | None = None


@click.command(epilog=EPILOG)
@click.option(
    "-c", "--config", metavar="FILE", help="The project file; default: ./spillway.toml, then $SPILLWAY_CONFIG."
)
@click.option("--live", is_flag=True, help="Also ask the store, and make one tiny request to each deployment.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(config: str | None, *, live: bool, as_json: bool) -> int:
    """Validate the project file and its secrets.

    Everything that is wrong is listed, one line each, and what is doubtful as a warning. Secrets are read but never
    shown. Exits 2 when something is wrong, 1 when a deployment or the store did not answer.
    """
    from spillway.core.errors import ConfigError
    from spillway.runtime.config import environment, inspect, require_config

    environ = environment()
    path = require_config(config, environ)
    project, problems = inspect(path)
    report = _Report(str(path), ok=False, problems=problems, warnings=[], deployments=[])
    if project is not None:
        _look(project, environ, report)
    if project is not None and not problems:
        from spillway.cli.check_live import start

        try:
            with _quiet():
                seen = start(path, project, environ, live=live, store=report.store)
        except ConfigError as error:
            problems.append(f"{path}: {error}")
        else:
            report.live = seen if live else None
    silent = report.store is not None and report.store.answered is False
    report.ok = not (problems or silent) and all(one.answered for one in report.live or ())
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        _print(report)
    for warning in report.warnings:
        say("warning", warning)
    for problem in report.problems:
        say("error", problem)
    return 0 if report.ok else 2 if problems else 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Have the library not log what the report says: unknown prices, a store that does not answer."""
    loggers = [logging.getLogger(f"spillway.{name}") for name in _REPORTED]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in loggers:
            logger.disabled = False


def _look(project: ProjectFile, environ: Mapping[str, str], report: _Report) -> None:
    """Read every secret once, and note what is missing, careless or doubtful."""
    from spillway.cli.check_live import StoreSeen
    from spillway.core.errors import ConfigError
    from spillway.providers.registry import key_variables
    from spillway.runtime.config import resolve_secret, secret_warning
    from spillway.runtime.prices import facts_of
    from spillway.runtime.store import shown_store, store_of

    report.store = StoreSeen(url=shown_store(project), cluster=project.cluster.name)
    try:
        store_of(project)
    except ConfigError as error:
        report.problems.append(str(error))
    states: dict[SecretLike, str] = {}
    by_owner: dict[str, list[_Secret]] = {}
    for use in project.secrets:
        if use.ref not in states:
            try:
                resolve_secret(use.ref, environ)
                states[use.ref] = "ok"
            except ConfigError as error:
                states[use.ref] = "missing"
                report.problems.append(f"{use.where}: {error}")
        if warning := secret_warning(use.ref):
            report.warnings.append(f"{use.where}: {warning}")
        by_owner.setdefault(use.owner, []).append(_Secret(use.ref.place, states[use.ref]))
    for deployment in project.deployments:
        secrets = by_owner.get(deployment.name, [])
        names = key_variables(deployment.runtime or "", deployment.runtime_config)
        if names and not secrets:
            there = any(environ.get(name) for name in names)
            secrets = [_Secret(f"environment variable {' or '.join(names)}", "ok" if there else "missing")]
            if not there:
                key = "[deployment.runtime_config] api_key"
                report.problems.append(f"{project.path}: {deployment.name}: set {' or '.join(names)}, or {key}")
        facts = facts_of(deployment)
        report.deployments.append(_row(deployment, facts, secrets))
        report.warnings += [f"{project.path}: {doubt}" for doubt in deployment.validate(facts)]


def _row(deployment: Deployment, facts: PricedModel, secrets: list[_Secret]) -> _Row:
    return _Row(
        deployment.name,
        deployment.group,
        deployment.runtime,
        deployment.provider_model,
        _amounts(deployment.rate_limits),
        _amounts(deployment.budget),
        _price(facts),
        secrets,
    )


def _price(facts: PricedModel) -> _Price:
    from spillway.core.clock import wall_now
    from spillway.remote.cost import pico_to_usd

    if facts.prices is None:
        return _Price(facts.source)
    now = facts.prices.entry_at(wall_now()).base
    return _Price(facts.source, pico_to_usd(now.input), pico_to_usd(now.output))


def _amounts(options: msgspec.Struct | None) -> dict[str, Any]:
    if options is None:
        return {}
    return {name: value for name in _UNITS if (value := getattr(options, name, None)) is not None}


def _print(report: _Report) -> None:
    if report.deployments:
        print_table(
            ("name", "group", "runtime", "model", "limits", "budget", "USD per Mtok", "secret"),
            [
                (
                    row.name,
                    row.group or "-",
                    row.runtime or "-",
                    row.model,
                    _in_words(row.limits),
                    _in_words(row.budget),
                    _price_in_words(row.price),
                    ", ".join(f"{secret.place}: {secret.state}" for secret in row.secrets),
                )
                for row in report.deployments
            ],
        )
    if report.store is not None:
        where = report.store
        shares = "" if where.url == "memory" else f", cluster {where.cluster}"
        click.echo(f"store: {where.url}{shares}{f': {where.said}' if where.said else ''}")
    if report.live is not None:
        click.echo()
        print_table(
            ("name", "answer", "seconds", "attempts", "tokens", "USD", "provider's limits"),
            [tuple(_cells(seen)) for seen in report.live],
        )


def _in_words(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{value:,} {_UNITS[name]}" for name, value in amounts.items()) or "-"


def _price_in_words(price: _Price) -> str:
    if price.input_per_mtok_usd is None:
        return price.source
    return f"{price.input_per_mtok_usd:g} in, {price.output_per_mtok_usd:g} out ({price.source})"


def _cells(seen: Seen) -> Iterator[str]:
    yield seen.name
    yield f"ok: {seen.said.strip()[:40]!r}" if seen.answered else f"failed: {seen.said[:200]}"
    yield f"{seen.latency_s:.2f}"
    yield str(seen.attempts)
    yield "-" if seen.input_tokens is None else f"{seen.input_tokens} in, {seen.output_tokens} out"
    yield "-" if seen.cost_usd is None else f"{seen.cost_usd:.6f}"
    yield _limits_in_words(seen.limits) or "-"


def _limits_in_words(limits: LimitsSeen | None) -> str:
    names = ("requests", "tokens", "input_tokens", "output_tokens")
    found = {name: getattr(limits, name, None) for name in names}
    return ", ".join(
        f"{name.replace('_', ' ')} {'?' if one.remaining is None else one.remaining} of {one.limit or '?'} left"
        for name, one in found.items()
        if one is not None
    )
