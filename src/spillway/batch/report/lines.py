"""Charts of lines over time: throughput and spend."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import msgspec

from spillway.batch.report.timeline import View
from spillway.drawing import amounts
from spillway.drawing.frame import (
    HEIGHT,
    WIDTH,
    baseline,
    dash_of,
    gridlines,
    hit,
    legend,
    line_swatch,
    plot,
    style_of,
    svg,
    x_labels,
    y_labels,
)
from spillway.drawing.markup import Html, join, number, tag
from spillway.drawing.scales import Linear, linear, time_axis

_MOST_SAID = 12
"""So many deployments are told of where a chart is pointed at."""


class Line(msgspec.Struct, frozen=True):
    """One deployment's values; `position` decides its style."""

    name: str
    position: int
    values: Sequence[float]


class Ceiling(msgspec.Struct, frozen=True):
    """A horizontal line that the values should stay under."""

    value: float
    label: str


def chart(
    view: View,
    lines: Sequence[Line],
    *,
    identity: str,
    title: str,
    unit: str,
    word: Callable[[float], str],
    label: Callable[[float], str],
    remark: Callable[[Sequence[float]], str],
    cumulative: bool = False,
    floor: float = 0.0,
    ceiling: Ceiling | None = None,
) -> Html:
    """Return a chart with one line a deployment, and the sum of all above them.

    Args:
        unit: what the vertical axis counts.
        word: a value in words.
        label: a value as a label of the axis.
        remark: what the legend says of a line's values.
        cumulative: values are those at the end of a bin and begin at 0, not those of the whole bin.
        floor: the sum begins here.
        ceiling: drawn when the values come near it.
    """
    total = [floor + sum(values) for values in zip(*(line.values for line in lines), strict=True)]
    highest = max([*total, floor])
    shown = ceiling if ceiling is not None and ceiling.value <= 4 * highest else None
    y = linear(max(highest, shown.value if shown else 0.0), label)
    x = time_axis(view.span_s)
    marks = [gridlines(x.ticks, y.ticks)]
    several = len(lines) > 1 or floor > 0
    if several:
        marks.append(_drawn(view, total, y, cumulative=cumulative, start=floor, classes="all"))
    for line in lines:
        classes = style_of(line.position) + (" thin" if several else "")
        dash = dash_of(line.position)
        marks.append(
            _drawn(view, line.values, y, cumulative=cumulative, classes=classes, dash=dash, filled=not several)
        )
    over: list[Html] = []
    if shown:
        at = (1 - y.share(shown.value)) * HEIGHT
        marks.append(tag("line", x1=0.0, x2=WIDTH, y1=at, y2=at, class_="cap"))
        bottom = number(y.share(shown.value) * 100)
        over.append(tag("span", shown.label, class_="cap-label", style=f"bottom:{bottom}%", aria_hidden="true"))
    marks.append(baseline())
    marks += _hits(view, lines, total, word, several=several)
    description = f"{unit} over {amounts.duration(view.span_s)}. " + "; ".join(
        f"{line.name}: {remark(line.values)}" for line in lines
    )
    entries = [(line_swatch(line.position), line.name, remark(line.values)) for line in lines]
    if several:
        entries.insert(0, (line_swatch(None), "all", remark(total)))
    return tag(
        "div",
        legend(entries),
        plot(
            svg(title, description, marks, identity=identity),
            y_labels(y),
            x_labels(x),
            *over,
            unit=unit,
            x_title=f"time since the start, {x.unit}",
        ),
        class_="chart",
    )


def _drawn(
    view: View,
    values: Sequence[float],
    y: Linear,
    *,
    cumulative: bool,
    classes: str,
    start: float = 0.0,
    dash: str | None = None,
    filled: bool = True,
) -> Html:
    edges, span = view.edges, view.span_s
    if cumulative:
        points = [(0.0, start), *zip(edges[1:], values, strict=True)]
    else:
        middles = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
        points = [(0.0, values[0]), *zip(middles, values, strict=True), (span, values[-1])]
    drawn = [f"{number(t / span * WIDTH)} {number((1 - y.share(v)) * HEIGHT)}" for t, v in points]
    path = "M" + "L".join(drawn)
    area = f"{path}L{number(WIDTH)} {number(HEIGHT)}L0 {number(HEIGHT)}Z"
    return tag(
        "g",
        tag("path", d=area, class_="fill") if filled else None,
        tag("path", d=path, class_="line", stroke_dasharray=dash),
        class_=classes,
    )


def _hits(
    view: View, lines: Sequence[Line], total: Sequence[float], word: Callable[[float], str], *, several: bool
) -> list[Html]:
    found = []
    for i, (begin, end) in enumerate(itertools.pairwise(view.edges)):
        said = [amounts.between(amounts.instant(begin), amounts.instant(end))]
        if several:
            said.append(f"all: {word(total[i])}")
        said += [f"{line.name}: {word(line.values[i])}" for line in lines[:_MOST_SAID]]
        found.append(hit(begin / view.span_s, end / view.span_s, "\n".join(said)))
    return [join(found)]
