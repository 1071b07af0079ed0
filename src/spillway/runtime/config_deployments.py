"""The `[[deployment]]` tables with what `[defaults]` adds, and what deployments must be to each other."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment, default_retries
from spillway.providers.registry import RUNTIMES, config_class, infer_runtime, known_runtimes
from spillway.runtime.config_errors import Problems, near, printable, quoted, shown
from spillway.runtime.config_lines import KeyPath
from spillway.runtime.config_tables import Entries, Reader, entries, fields_of, table_of

_SHARED_BY_LIMIT_GROUP = ("rate_limits", "circuit_breaker")
_DEFAULTS: KeyPath = ("defaults",)


@functools.cache
def deployment_tables() -> dict[str, type[msgspec.Struct]]:
    """Return the options of a deployment that are tables, each of which may stand under `[defaults]`."""
    found = {name: table_of(field.type) for name, field in fields_of(Deployment).items()}
    return {name: kind for name, kind in found.items() if kind is not None}


class DeploymentReader:
    """Reads deployments; what one of them does not say, `[defaults]` may.

    Args:
        reader: of the same file.
        defaults: the table `[defaults]`.
    """

    def __init__(self, reader: Reader, defaults: Mapping[str, Any]) -> None:
        self._reader = reader
        self._problems = reader.problems
        self._defaults = {name: table for name, table in defaults.items() if isinstance(table, dict)}
        self._check_defaults(defaults)

    def read(self, table: Mapping[str, Any], at: KeyPath) -> Deployment | None:
        """Return the deployment whose table stands at `at`, None when it is none."""
        name = table.get("name")
        self._reader.owner = name if isinstance(name, str) else "?"
        ready: dict[str, Any] = {}
        sound = True
        runtime = self._runtime(table, at)
        if runtime is None:
            sound = False
        else:
            ready["runtime"] = runtime
        tables = dict(deployment_tables())
        del tables["runtime_config"]
        try:
            if runtime is not None:
                tables["runtime_config"] = config_class(runtime)
        except ConfigError as error:
            self._problems.add(printable(str(error)), at, "runtime")
            sound = False
        for key, kind in tables.items():
            found = self._merged(key, kind, table, at)
            if found is not None:
                place = (*at, key) if key in table else (*_DEFAULTS, key)
                ready[key] = self._reader.build(kind, found, place, _own_default(key, runtime, found))
                sound = sound and ready[key] is not None
        self._reader.owner = ""
        plain = {key: value for key, value in table.items() if key not in deployment_tables()}
        deployment = self._reader.build(
            Deployment, entries(plain, at), at, {key: value for key, value in ready.items() if value is not None}
        )
        return deployment if sound else None

    def _merged(self, key: str, kind: type[msgspec.Struct], table: Mapping[str, Any], at: KeyPath) -> Entries | None:
        own = table.get(key)
        default = self._defaults.get(key)
        if own is None and default is None:
            return None
        if own is not None and not isinstance(own, dict):
            self._reader.wrong("a table", own, at, key)
            own = None
        found = entries(default or {}, (*_DEFAULTS, key))
        if key == "runtime_config":
            found = {name: entry for name, entry in found.items() if name in fields_of(kind)}
        return found | entries(own or {}, (*at, key))

    def _runtime(self, table: Mapping[str, Any], at: KeyPath) -> str | None:
        given = table.get("runtime")
        if isinstance(given, str):
            if given in known_runtimes():
                return given
            self._problems.not_one_of(given, known_runtimes(), at, "runtime")
        if given is not None:
            return None
        key = "model" if "model" in table else "name"
        model = table.get(key)
        if not isinstance(model, str):
            return None
        found = infer_runtime(model)
        if found is None:
            choices = ", ".join(known_runtimes())
            message = f"no runtime follows from the model {quoted(model)}; set runtime to one of {choices}"
            self._problems.add(message, at, key)
        return found

    def _check_defaults(self, defaults: Mapping[str, Any]) -> None:
        tables = deployment_tables()
        for key, table in defaults.items():
            at = (*_DEFAULTS, key)
            if key not in tables:
                self._problems.unknown_key(key, tables, _DEFAULTS)
            elif not isinstance(table, dict):
                self._reader.wrong("a table", table, _DEFAULTS, key)
            elif key != "runtime_config":
                self._reader.check(tables[key], table, at)
            else:
                self._check_runtime_defaults(table, at)

    def _check_runtime_defaults(self, table: Mapping[str, Any], at: KeyPath) -> None:
        """A key that some runtime has goes to the deployments of that runtime and to no others."""
        known = dict.fromkeys(key for runtime in RUNTIMES for key in fields_of(config_class(runtime)))
        if any(key not in known for key in table):
            # A third party's package is loaded only where it may matter.
            for runtime in known_runtimes()[len(RUNTIMES) :]:
                with suppress(ConfigError):  # told where a deployment is of it
                    known |= dict.fromkeys(fields_of(config_class(runtime)))
        for key in table:
            if key not in known:
                self._problems.unknown_key(key, known, at)


def check_together(
    problems: Problems, tables: Sequence[Mapping[str, Any]], deployments: Sequence[Deployment | None]
) -> None:
    """Note what deployments are wrong about each other: names, groups, fallbacks and limit groups.

    Args:
        tables: as they stand in the file, so that a deployment which is wrong in itself still has its name.
        deployments: those of the tables, None for a wrong one.
    """
    names: dict[str, int] = {}
    for index, table in enumerate(tables):
        name = table.get("name")
        if not isinstance(name, str):
            continue
        if name in names:
            line = problems.line(_at(names[name]), "name")
            problems.add(f"name {quoted(name)} is taken by the deployment of line {line}", _at(index), "name")
        names.setdefault(name, index)
    groups: dict[str, int] = {}
    for index, table in enumerate(tables):
        group = table.get("group")
        if not isinstance(group, str):
            continue
        groups.setdefault(group, index)
        if names.get(group, index) != index:
            line = problems.line(_at(index), "group")
            problems.add(f"name {quoted(group)} is also the group of line {line}", _at(names[group]), "name")
    targets = [*names, *(group for group in groups if group not in names)]
    for index, table in enumerate(tables):
        _check_fallback(problems, table, index, targets)
    _check_limit_groups(problems, deployments)


def _check_fallback(problems: Problems, table: Mapping[str, Any], index: int, known: Sequence[str]) -> None:
    values = table.get("fallback")
    for position, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, str) and value not in known:
            hint = near(value, known) or f"known: {', '.join(map(shown, known))}"
            message = f"fallback {quoted(value)} names no deployment or group ({hint})"
            problems.add(message, _at(index), "fallback", position)


def _check_limit_groups(problems: Problems, deployments: Sequence[Deployment | None]) -> None:
    first: dict[str, Deployment] = {}
    for index, deployment in enumerate(deployments):
        if deployment is None or not deployment.limit_group:
            continue
        other = first.setdefault(deployment.limit_group, deployment)
        for key in _SHARED_BY_LIMIT_GROUP:
            if getattr(deployment, key) != getattr(other, key):
                problems.add(
                    f"limit_group {quoted(deployment.limit_group)}: {key} must be the same as in deployment "
                    f"{quoted(other.name)}",
                    _at(index),
                    "limit_group",
                )


def _own_default(key: str, runtime: str | None, found: Entries) -> dict[str, Any]:
    """Return what a table that does not say has by its runtime."""
    if key != "retry" or "max_retries" in found:
        return {}
    return {"max_retries": default_retries(runtime)}


def _at(index: int) -> KeyPath:
    return ("deployment", index)
