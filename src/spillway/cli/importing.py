"""`spillway import`: the configuration of another gateway as a project file."""

from __future__ import annotations

import os
from pathlib import Path

import click

EPILOG = """\b
Examples:
  spillway import litellm config.yaml
  spillway import litellm config.yaml -o spillway.toml --force
  spillway import litellm config.yaml -o - | less"""


@click.group(epilog="Example: spillway import litellm config.yaml")
def command() -> None:
    """Write a spillway.toml from another gateway's configuration."""


@command.command(epilog=EPILOG)
@click.argument("config", metavar="CONFIG.yaml")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    default="spillway.toml",
    show_default=True,
    help="The file to write; - for stdout.",
)
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def litellm(config: str, output: str, *, force: bool) -> None:
    """Write a spillway.toml from a LiteLLM proxy's configuration.

    What could not be carried over, or works in another way, is said line by line on stderr. Keys stay where they are:
    os.environ/NAME becomes { from_env = "NAME" }.
    """
    from spillway.cli.litellm_config import convert
    from spillway.cli.litellm_config.conversion import NothingLeftError
    from spillway.cli.output import say
    from spillway.core.errors import ConfigError
    from spillway.runtime.config import environment

    target = Path(output)
    if target.is_dir():
        target /= "spillway.toml"
    if output != "-" and target.exists() and not force:
        raise ConfigError(f"{target} exists already; --force overwrites it")
    try:
        converted = convert(_read(config), config, environment())
    except NothingLeftError as error:
        for line in error.findings:
            say("left out", line)
        raise
    for line in converted.findings:
        say("note", line)
    if output == "-":
        click.echo(converted.text, nl=False)
        return
    _write(target, converted.text, private=converted.inline)
    _check(target)
    count, notes = converted.deployments, len(converted.findings)
    said = f"wrote {target}: {count} deployment{'s' * (count != 1)}, {notes} note{'s' * (notes != 1)}"
    click.echo(f"{said}; `spillway check` looks for its secrets")


def _read(config: str) -> str:
    from spillway.cli.litellm_config.yaml_file import LARGEST
    from spillway.core.errors import ConfigError

    try:
        with Path(config).open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{config}: {getattr(error, 'strerror', None) or 'not a path'}") from None
    if len(content) > LARGEST:
        raise ConfigError(f"{config}: the file is larger than {LARGEST:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{config}:{line}: the file is not UTF-8 text") from None


def _write(target: Path, text: str, *, private: bool) -> None:
    """Write the file whole or not at all; one with secrets in it is its owner's only."""
    from spillway.core.errors import ConfigError

    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.touch(0o600 if private else 0o644, exist_ok=False)
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{target} can't be written: {getattr(error, 'strerror', None) or 'not a path'}") from None
    finally:
        beside.unlink(missing_ok=True)


def _check(target: Path) -> None:
    """Say what is wrong with what was written; it is to be mended by hand then.

    Raises:
        ConfigError: something is.
    """
    from spillway.runtime.config import load

    load(target)
