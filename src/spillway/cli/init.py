"""`spillway init`: a project file to begin with."""

from __future__ import annotations

from pathlib import Path

import click

EPILOG = """\b
Examples:
  spillway init
  spillway init services/answers/spillway.toml
  spillway init --force"""


@click.command(epilog=EPILOG)
@click.argument("path", required=False, default="spillway.toml", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def command(path: Path, *, force: bool) -> None:
    """Write a commented spillway.toml.

    It has a deployment for OpenAI, Anthropic and Gemini each, and every option with its default as a comment. PATH
    may be a folder.
    """
    from spillway.core.errors import ConfigError
    from spillway.runtime.template import TEMPLATE

    if path.is_dir():
        path /= "spillway.toml"
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(f"{path} exists already; --force overwrites it") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be written: {getattr(error, 'strerror', None) or 'not a path'}") from None
    click.echo(f"wrote {path}")
