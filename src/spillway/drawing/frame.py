"""What all charts share: a figure with its heading, axes, legend, and the same in a table.

Marks are SVG that stretches to any width (`preserveAspectRatio="none"`, strokes that do not scale); axis labels are
text beside it, placed in percent, so that they keep their size from a phone to a wide screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spillway.drawing import amounts
from spillway.drawing.markup import Html, join, number, tag
from spillway.drawing.scales import Linear, LogAxis, Tick, TimeAxis

WIDTH = 1000.0
"""Units of a drawing's width; its height is `HEIGHT`."""

HEIGHT = 200.0

_COLOURS = 8
_DASHES = ("", "8 4", "2 3", "10 3 2 3", "5 2")


def style_of(position: int) -> str:
    """Return the classes that give the deployment at a position its colour and its dash, alike in all charts."""
    return f"c{position % _COLOURS} d{position % len(_DASHES)}"


def dash_of(position: int) -> str | None:
    """Return the dash of a deployment's lines, None for a solid one."""
    return _DASHES[position % len(_DASHES)] or None


def svg(title: str, description: str, marks: Iterable[str], *, identity: str, height: float = HEIGHT) -> Html:
    """Return a drawing that stretches to the box it is in.

    Args:
        identity: unique in the document.
    """
    return tag(
        "svg",
        tag("title", title, id=f"{identity}-title"),
        tag("desc", description, id=f"{identity}-desc"),
        join(marks),
        viewBox=f"0 0 {number(WIDTH)} {number(height)}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby=f"{identity}-title",
        aria_describedby=f"{identity}-desc",
    )


def gridlines(across: Sequence[Tick], up: Sequence[Tick] = (), *, height: float = HEIGHT) -> Html:
    """Return thin lines at the ticks of both axes."""
    lines = [
        tag("line", x1=t.at * WIDTH, x2=t.at * WIDTH, y1=0.0, y2=height, class_="grid")
        for t in across
        if 0 < t.at < 0.999
    ]
    lines += [
        tag("line", x1=0.0, x2=WIDTH, y1=(1 - t.at) * height, y2=(1 - t.at) * height, class_="grid")
        for t in up
        if t.at > 0
    ]
    return join(lines)


def baseline(height: float = HEIGHT) -> Html:
    """Return the line that marks stand on."""
    return tag("line", x1=0.0, x2=WIDTH, y1=height, y2=height, class_="base")


def hit(left: float, right: float, text: str, *, height: float = HEIGHT) -> Html:
    """Return an invisible strip, in shares of the width, that says `text` when it is pointed at."""
    return tag(
        "rect",
        tag("title", text),
        x=left * WIDTH,
        width=max(right - left, 0.001) * WIDTH,
        y=0.0,
        height=height,
        class_="hit",
    )


def y_labels(axis: Linear) -> Html:
    """Return the labels of a vertical axis."""
    labels = [tag("span", t.label, style=f"bottom:{number(t.at * 100)}%") for t in axis.ticks]
    return tag("div", *labels, class_="y", aria_hidden="true")


def x_labels(axis: TimeAxis | LogAxis) -> Html:
    """Return the labels of a horizontal axis; every other one may be hidden where there is little room."""
    labels = []
    for i, t in enumerate(axis.ticks):
        side = "first" if t.at < 0.02 else "last" if t.at > 0.96 else None
        classes = " ".join(filter(None, (side, "odd" if i % 2 else None)))
        labels.append(tag("span", t.label, class_=classes or None, style=f"left:{number(t.at * 100)}%"))
    return tag("div", *labels, class_="x", aria_hidden="true")


def plot(drawing: Html, y: Html, x: Html, *over: Html, unit: str, x_title: str, above: Html | None = None) -> Html:
    """Return a drawing with its axes and their titles; `over` is laid upon the drawing, `above` stands above it."""
    return tag(
        "div",
        tag("div", unit, class_="unit", aria_hidden="true"),
        above,
        y,
        tag("div", drawing, *over, class_="area"),
        x,
        tag("div", x_title, class_="x-title", aria_hidden="true"),
        class_="plot",
    )


def figure(heading: str, explanation: str, *content: Html, identity: str, beside: Html | None = None) -> Html:
    """Return a section of the page; `beside` stands in its heading too."""
    return tag(
        "section",
        tag("h2", heading, beside, id=identity),
        tag("p", explanation, class_="says"),
        *content,
        class_="card",
        aria_labelledby=identity,
    )


def nothing(text: str, *, good: bool = False) -> Html:
    """Return what stands where there is nothing to draw."""
    mark = tag("span", "✓" if good else amounts.NONE, class_="mark", aria_hidden="true")
    return tag("p", mark, text, class_="nothing good" if good else "nothing")


def legend(entries: Iterable[tuple[Html, str, str]]) -> Html:
    """Return a legend of `(swatch, name, remark)`."""
    items = [
        tag("li", swatch, tag("span", name, class_="name"), tag("span", remark, class_="remark") if remark else None)
        for swatch, name, remark in entries
    ]
    return tag("ul", *items, class_="legend")


def line_swatch(position: int | None) -> Html:
    """Return a sample of a deployment's line; None: of the line of all."""
    dash = None if position is None else dash_of(position)
    classes = "all" if position is None else style_of(position)
    return tag(
        "svg",
        tag("line", x1=1.0, x2=27.0, y1=6.0, y2=6.0, class_="line", stroke_dasharray=dash),
        viewBox="0 0 28 12",
        class_=f"swatch {classes}",
        aria_hidden="true",
    )


def as_table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    """Return the same numbers as a table that opens on demand."""
    head = tag("tr", *(tag("th", h, scope="col") for h in headings))
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    table = tag("table", tag("caption", caption, class_="unseen"), tag("thead", head), tag("tbody", *body))
    return tag(
        "details",
        tag("summary", "Show as a table"),
        tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption),
    )
