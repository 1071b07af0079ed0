"""Draw docs/images/demo.svg: run `spillway demo` and render what it printed.

    python docs/images/make_demo_picture.py

The picture refers to no font, style or script of anywhere else.
"""  # noqa: INP001 - a script beside the picture that it draws

import io
import os
import pathlib
import re
import subprocess
import sys

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = pathlib.Path(__file__).with_name("demo.svg")
WIDTH = 116
FONTS = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def run_demo() -> str:
    """Return what the demonstration printed to stdout, with its colours."""
    inherited = os.environ  # noqa: TID251 - a child gets what this process was given
    colours = {**inherited, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    colours.pop("NO_COLOR", None)
    done = subprocess.run(
        [sys.executable, "-m", "spillway", "demo"], stdout=subprocess.PIPE, text=True, env=colours, check=True
    )
    return done.stdout


def draw(printed: str) -> str:
    """Return terminal output as a picture that stands alone."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text("$ spillway demo", style="bold"))
    for line in printed.rstrip().splitlines():
        text = Text.from_ansi(line)
        text.rstrip()
        console.print(text, no_wrap=True, overflow="ignore", crop=True)
    picture = console.export_svg(title="spillway demo", theme=MONOKAI, unique_id="demo")
    picture = re.sub(r"@font-face\s*\{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = re.sub(r"font-family:[^;]*;", f"font-family: {FONTS};", picture)
    picture = re.sub(r"\n\s*<!--.*?-->", "", picture)
    return "\n".join(line.rstrip() for line in picture.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(run_demo()), encoding="utf-8")
