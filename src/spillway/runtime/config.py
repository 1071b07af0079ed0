"""The project file: found, read, checked, turned into deployments; and the one reader of the process's environment."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spillway.core.errors import ConfigError
from spillway.core.masked import MaskedVariables
from spillway.core.options import Deployment
from spillway.core.secrets import Secret, SecretLike, SecretRef
from spillway.providers.registry import config_class, infer_runtime, key_variables
from spillway.runtime.config_deployments import DeploymentReader, check_together
from spillway.runtime.config_errors import Problems, printable, quoted, without_text
from spillway.runtime.config_lines import line_index
from spillway.runtime.config_tables import Reader, entries
from spillway.runtime.project import ClusterSettings, GatewaySettings, ProjectFile

FILE_NAME = "spillway.toml"
FILE_VARIABLE = "SPILLWAY_CONFIG"
_URL_VARIABLES = {
    "openai": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
    "gemini": "GOOGLE_GEMINI_BASE_URL",
}
_LARGEST = 1 << 22
_TABLES = ("cluster", "gateway", "defaults", "deployment")


def environment() -> Mapping[str, str]:
    """Return the environment of this process."""
    return MaskedVariables(os.environ)  # noqa: TID251 - this is the one reader of it


def set_default_variables(variables: Mapping[str, str]) -> None:
    """Set variables of this process's environment that are not set: what a library reads nowhere else."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)  # noqa: TID251 - see above


def find_config(given: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the project file to use: the one given, else `./spillway.toml`, else `$SPILLWAY_CONFIG`, else None."""
    if given is not None:
        return Path(given)
    here = Path(FILE_NAME)
    if here.exists():
        return here
    named = (environment() if environ is None else environ).get(FILE_VARIABLE)
    return Path(named) if named else None


def require_config(given: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return what `find_config` finds.

    Raises:
        ConfigError: it finds none.
    """
    path = find_config(given, environ)
    if path is None:
        raise ConfigError(f"no {FILE_NAME} here and {FILE_VARIABLE} is not set; `spillway init` writes one")
    return path


def load(path: str | Path) -> ProjectFile:
    """Return what the project file at `path` says. Secrets are not read.

    Raises:
        ConfigError: the first problem, in one line that names file, line, key and the nearest valid key or value.
    """
    project, problems = inspect(path)
    if project is None:
        raise ConfigError(problems[0])
    return project


def inspect(path: str | Path) -> tuple[ProjectFile | None, list[str]]:
    """Return what the project file at `path` says, and everything that is wrong with it, one line each.

    The file is None when something is wrong.
    """
    path = Path(path)
    try:
        text = _read(path)
        document = _parse(text, path)
    except ConfigError as error:
        return None, [str(error)]
    problems = Problems(str(path), line_index(text))
    reader = Reader(problems, path.absolute().parent)
    for key in document:
        if key not in _TABLES:
            problems.unknown_key(key, _TABLES, ())
    tables = {key: _table(reader, document, key) for key in ("cluster", "gateway", "defaults")}
    state = {"state": ClusterSettings().state}
    cluster = reader.build(ClusterSettings, entries(state | tables["cluster"], ("cluster",)), ("cluster",))
    gateway = reader.build(GatewaySettings, entries(tables["gateway"], ("gateway",)), ("gateway",))
    if gateway is not None:
        _check_key_names(problems, gateway)
    deployments = _deployments(reader, document, tables["defaults"])
    found = [deployment for deployment in deployments if deployment is not None]
    if problems or cluster is None or gateway is None:
        return None, list(problems)
    project = ProjectFile(
        path=path,
        cluster=cluster,
        gateway=gateway,
        deployments=tuple(found),
        secrets=tuple(reader.secrets),
        store_place=problems.where(("cluster",), "store"),
    )
    return project, []


def deployment_for_model(name: str, environ: Mapping[str, str], endpoint: str | None = None) -> Deployment:
    """Return a deployment of the model `name` with nothing but the provider's usual environment variables.

    Args:
        environ: holds `OPENAI_API_KEY`, `ANTHROPIC_API_KEY`, `GEMINI_API_KEY` (or `GOOGLE_API_KEY`) or
            `LITELLM_API_KEY`, and perhaps `OPENAI_BASE_URL`, `ANTHROPIC_BASE_URL` or `GOOGLE_GEMINI_BASE_URL`.
        endpoint: base URL, before the variable's.

    Raises:
        ConfigError: the model tells no runtime, or the key is not set.
    """
    runtime = infer_runtime(name)
    if runtime is None:
        raise ConfigError(f"no runtime follows from the model {quoted(name)}; describe it in a {FILE_NAME}")
    variables = key_variables(runtime)
    variable = next((variable for variable in variables if environ.get(variable)), None)
    if variable is None:
        raise ConfigError(f"{' or '.join(variables)} is not set, and no {FILE_NAME} says where the key is")
    source = "endpoint" if endpoint is not None else _URL_VARIABLES.get(runtime, "")
    endpoint = endpoint if endpoint is not None else environ.get(source) or None
    try:
        config = config_class(runtime)(endpoint=endpoint, api_key=SecretRef(from_env=variable))
        return Deployment(name=name, runtime=runtime, runtime_config=config)
    except ValueError as error:
        raise ConfigError(f"{printable(name)}: {source}: {without_text(str(error), [endpoint])}") from None


def resolve_secret(secret: SecretLike, environ: Mapping[str, str]) -> Secret:
    """Return the secret that is there now: a variable, a file's text, what a command or a plugin yields within 10 s.

    Raises:
        ConfigError: there is none; the message names the place.
        RuntimeError: an event loop is running.
    """
    from spillway.providers.secret_plugins import credential_source  # noqa: PLC0415 - brings HTTP along

    try:
        return asyncio.run(credential_source(secret, environ).token())
    except ConfigError:
        raise
    except ValueError as error:
        place = "the key given" if isinstance(secret, Secret) else secret.place
        raise ConfigError(f"{printable(place)}: {error}") from error


def secret_warning(secret: SecretLike) -> str | None:
    """Return what is careless about where a secret stands, None when nothing is."""
    if isinstance(secret, Secret) or secret.inline is not None:
        return 'the secret stands in the file; write { from_env = "NAME" } or { from_file = "PATH" }'
    if secret.from_file is not None and world_readable(secret.from_file):
        return f"{printable(secret.from_file)} can be read by every user of this machine; chmod 600 it"
    return None


def world_readable(path: str | Path) -> bool:
    """Return whether others than the owner and the group may read a file that exists."""
    try:
        return bool(Path(path).stat().st_mode & stat.S_IROTH)
    except (OSError, ValueError):
        return False


def _read(path: Path) -> str:
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ConfigError(f"{name}: there is no such file; `spillway init` writes one") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {getattr(error, 'strerror', None) or 'not a path'}") from None
    if len(content) > _LARGEST:
        raise ConfigError(f"{name}: the file is larger than {_LARGEST:,} bytes")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: the file is not UTF-8 text") from None


def _parse(text: str, path: Path) -> dict[str, Any]:
    name = printable(str(path))
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{name}:1: tables and lists are nested too deeply") from None
    except ValueError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.search(r"line (\d+)", place)
        line = found[1] if found else str(text.count("\n") + 1 if "end of document" in place else 1)
        raise ConfigError(f"{name}:{line}: not TOML: {printable(what)}") from None


def _table(reader: Reader, document: Mapping[str, Any], key: str) -> dict[str, Any]:
    table = document.get(key, {})
    if isinstance(table, dict):
        return table
    reader.wrong("a table", table, (), key)
    return {}


def _deployments(reader: Reader, document: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Deployment | None]:
    deployed = DeploymentReader(reader, defaults)
    tables = document.get("deployment", [])
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        reader.problems.add("deployment: must be tables, each written [[deployment]]", (), "deployment")
        return []
    if not tables:
        reader.problems.add("there is no [[deployment]]", ())
    found = [deployed.read(table, ("deployment", index)) for index, table in enumerate(tables)]
    check_together(reader.problems, tables, found)
    return found


def _check_key_names(problems: Problems, gateway: GatewaySettings) -> None:
    seen: dict[str, int] = {}
    for index, key in enumerate(gateway.keys):
        if key.name in seen:
            line = problems.line(("gateway", "keys", seen[key.name]), "name")
            problems.add(
                f"name {quoted(key.name)} is taken by the key of line {line}", ("gateway", "keys", index), "name"
            )
        seen.setdefault(key.name, index)
