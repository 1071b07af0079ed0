"""What commands print: results to stdout, everything else to stderr; colours and boxes only on a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

import click

from spillway.runtime.config_errors import printable

_COLOURS = {"error": "red", "warning": "yellow"}
_UNBOUNDED = 100_000


def say(kind: str, message: str) -> None:
    """Print one line, `kind: message`, to stderr."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble((f"{kind}: ", _COLOURS.get(kind, "")), printable(" ".join(message.split())))
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


class LogLines(logging.Handler):
    """Prints what the library logs as such lines too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        try:
            say(record.levelname.lower(), record.getMessage())
        except Exception:  # noqa: BLE001 - logging's own contract: a record that can't be written stops nobody
            self.handleError(record)


def print_json(value: Any) -> None:
    """Print a result as JSON to stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, dense: bool = False) -> None:
    """Print a table to stdout: with rules on a terminal, else plain columns that no width cuts.

    Args:
        dense: no rules and narrow gaps on a terminal, for many columns.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    on_terminal = console.is_terminal
    if not on_terminal:
        console.width = _UNBOUNDED
    ruled, gap = on_terminal and not dense, 1 if on_terminal and dense else 2
    table = Table(box=box.SIMPLE_HEAD if ruled else None, pad_edge=False, padding=(0, gap, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(f"{line.rstrip()}\n")
