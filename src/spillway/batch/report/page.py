"""The whole page: one file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import resources
from pathlib import Path

from spillway.batch.report import top
from spillway.batch.report.frame import figure
from spillway.batch.report.headline import Headline, read
from spillway.batch.report.markup import Html, tag
from spillway.batch.report.plots import plots
from spillway.batch.report.recorder import Recorder
from spillway.core.clock import WallClock, wall_now


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
    page = render(line, recorder, f"{wall():%Y-%m-%d %H:%M} UTC")
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(page, encoding="utf-8", errors="replace")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def render(line: Headline, recorder: Recorder, written: str) -> Html:
    """Return the page; `written` is its date in words."""
    style, script = _text("page.css"), _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    title = f"{line.output or 'Run'} · Spillway run report"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        Html('<link rel="icon" href="data:,">'),
        tag("title", title),
        tag("style", Html(style)),
    )
    body = tag(
        "body",
        tag(
            "main",
            top.header(line, written),
            top.tiles(line),
            figure("Deployments", _TABLE_SAYS, top.table(line), identity="deployments"),
            *plots(line, recorder),
            tag("footer", "Drawn by Spillway from what this process saw. This file loads nothing from anywhere."),
        ),
        tag("script", Html(script)),
    )
    return Html(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")


_TABLE_SAYS = (
    "Requests, attempts and tokens of this process. Latency is that of attempts that gave a whole answer, TTFT the "
    "time to their first content."
)


def _text(name: str) -> str:
    return resources.files("spillway.batch.report").joinpath(name).read_text(encoding="utf-8")
