"""The whole page: one file that loads nothing."""

from __future__ import annotations

from pathlib import Path

from spillway.batch.report import top
from spillway.batch.report.headline import Headline, read
from spillway.batch.report.plots import plots
from spillway.batch.report.recorder import Recorder
from spillway.core.clock import WallClock, wall_now
from spillway.drawing.document import document, write_document
from spillway.drawing.frame import figure
from spillway.drawing.markup import Html, tag


def write_report(
    path: str | Path,
    recorder: Recorder,
    summary: object = None,
    *,
    max_cost_usd: float | None = None,
    wall: WallClock = wall_now,
) -> None:
    """Write the page of a run: numbers, a table and plots of each deployment, in one HTML file without any other.

    Nothing but names, codes, numbers and the summary's message gets in, each escaped; the message is masked as well.
    Stops watching breakers.

    Args:
        path: where it goes; replaced as a whole, so that nobody ever sees half of it.
        summary: a `RunSummary`, a mapping with its fields, or None; what it lacks is taken from the recorder.
        max_cost_usd: the run's cap, drawn where spend comes near it.
        wall: tells the date of the page.

    Raises:
        OSError: it can't be written; what was there before still is.
    """
    recorder.close()
    line = read(summary, recorder, cap_usd=max_cost_usd)
    write_document(Path(path), render(line, recorder, f"{wall():%Y-%m-%d %H:%M} UTC"))


def render(line: Headline, recorder: Recorder, written: str) -> Html:
    """Return the page; `written` is its date in words."""
    return document(
        f"{line.output or 'Run'} · Spillway run report",
        top.header(line, written),
        top.tiles(line),
        figure("Deployments", _TABLE_SAYS, top.table(line), identity="deployments"),
        *plots(line, recorder),
        tag("footer", "Drawn by Spillway from what this process saw. This file loads nothing from anywhere."),
    )


_TABLE_SAYS = (
    "Requests, attempts and tokens of this process. Latency is that of attempts that gave a whole answer, TTFT the "
    "time to their first content."
)
