"""The page of a drill: one file that loads nothing."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from spillway.core.clock import WallClock, wall_now
from spillway.drawing import amounts
from spillway.drawing.document import document, write_document
from spillway.drawing.frame import as_table, figure
from spillway.drawing.markup import Html, tag
from spillway.drill.drill import Drilled
from spillway.drill.found import Found, Promise
from spillway.drill.report.charts import curve_chart, node_lanes
from spillway.drill.words import BROKEN, HELD, conclusion


def write_report(path: str | Path, drilled: Drilled, *, wall: WallClock = wall_now) -> None:
    """Write the page of a drill.

    Args:
        path: where it goes; replaced as a whole, so that nobody ever sees half of it.
        wall: tells the date of the page.

    Raises:
        OSError: it can't be written; what was there before still is.
    """
    write_document(Path(path), render(drilled, f"{wall():%Y-%m-%d %H:%M} UTC"))


def render(drilled: Drilled, written: str) -> Html:
    """Return the page; `written` is its date in words."""
    style = resources.files("spillway.drill.report").joinpath("drill.css").read_text(encoding="utf-8")
    return document(
        "Spillway cluster drill",
        _header(drilled, written),
        figure("Promised and measured", _TABLE_SAYS, _promises(drilled), identity="promises"),
        *(_scenario(found) for found in drilled.scenarios),
        tag("footer", "Drawn by Spillway from what the simulated provider saw. This file loads nothing from anywhere."),
        style=style,
    )


_TABLE_SAYS = (
    "Nodes, a Redis and a simulated provider, each a process of its own. What arrived is measured at the provider, by "
    "its own log; what became of requests at the clients; what became of lines in the files."
)


def _header(drilled: Drilled, written: str) -> Html:
    held, total = drilled.counts
    size = drilled.size
    facts = (
        ("Nodes", f"{size.nodes}"),
        ("Window", f"{size.window_s:g} s"),
        ("Limit", amounts.times(size.limit, "request")),
        ("Seed", f"{drilled.seed}"),
        ("Took", amounts.duration(drilled.elapsed_s)),
        ("Written", written),
    )
    kind, mark = ("well", "✓") if drilled.holds else ("stopped", "✗")
    words = "All promises held" if drilled.holds else f"{total - held} of {total} promises were broken"
    return tag(
        "header",
        tag("p", tag("span", "Spillway", class_="brand"), " cluster drill", class_="kicker"),
        tag("h1", f"{held} of {total} promises held"),
        tag(
            "p",
            tag("span", tag("span", mark, class_="mark", aria_hidden="true"), words, class_=f"pill {kind}"),
            class_="verdict",
            title=conclusion(drilled),
        ),
        tag("dl", *(tag("div", tag("dt", word), tag("dd", value)) for word, value in facts), class_="files"),
    )


def _promises(drilled: Drilled) -> Html:
    headings = ("scenario", "promise", "promised", "measured", "")
    head = tag("tr", *(tag("th", heading, scope="col") for heading in headings))
    rows = [_row(found, promise) for found in drilled.scenarios for promise in found.promises]
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="promises")


def _row(found: Found, promise: Promise) -> Html:
    word = HELD if promise.holds else BROKEN
    return tag(
        "tr",
        tag("th", found.name, scope="row"),
        tag("td", promise.name),
        tag("td", promise.promised, data_label="promised"),
        tag("td", promise.measured, class_="numbers", data_label="measured"),
        tag("td", tag("span", word, class_=f"verdict-word {word.lower()}")),
    )


def _scenario(found: Found) -> Html:
    identity = f"scenario-{found.name}"
    word = HELD if found.holds else BROKEN
    content = [curve_chart(found, curve, identity=f"{identity}-{i}") for i, curve in enumerate(found.curves)]
    if found.span_s > 0 and any(found.arrivals.values()):
        content.append(node_lanes(found, identity=f"{identity}-node"))
    if found.remarks:
        facts = (tag("div", tag("dt", name), tag("dd", value)) for name, value in found.remarks.items())
        content.append(tag("dl", *facts, class_="facts"))
    if found.events:
        rows = [
            (amounts.instant(event.from_s), amounts.instant(event.to_s), event.what)
            for event in sorted(found.events, key=lambda event: event.from_s)
        ]
        content.append(as_table(f"What happened in {found.name}", ("from", "to", "what"), rows))
    verdict = tag("span", word, class_=f"verdict-word {word.lower()}")
    return figure(f"{found.name}: ", found.says, *content, identity=identity, beside=verdict)
