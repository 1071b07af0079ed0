"""Charts of a scenario: a curve under its bound, the arrivals of each node, and when things failed behind both."""

from __future__ import annotations

from collections.abc import Sequence

from spillway.drawing import amounts
from spillway.drawing.frame import (
    HEIGHT,
    WIDTH,
    baseline,
    gridlines,
    hit,
    plot,
    style_of,
    svg,
    x_labels,
    y_labels,
)
from spillway.drawing.markup import Html, number, tag
from spillway.drawing.scales import TimeAxis, linear, time_axis
from spillway.drill.found import Curve, Event, Found

_LANE = 40.0
_BARS = 120
_HEADROOM = 1.08
_MOMENT = 0.0015
"""Share of the width that something is given which was over at once."""


def curve_chart(found: Found, curve: Curve, *, identity: str) -> Html:
    """Return a curve over the scenario's time, with its bound and the faults behind it."""
    x = time_axis(max(found.span_s, 1e-3))
    lines = [line[0] for line in (curve.bound, curve.lesser) if line]
    highest = max([value for _, value in curve.points] + lines, default=0.0)
    y = linear(highest * _HEADROOM, amounts.compact)
    marks = [*_bands(found.events, x, HEIGHT), gridlines(x.ticks, y.ticks)]
    points = [f"{number(x.share(t) * WIDTH)} {number((1 - y.share(v)) * HEIGHT)}" for t, v in curve.points]
    if points:
        first, last = (number(x.share(curve.points[end][0]) * WIDTH) for end in (0, -1))
        path = "M" + "L".join(points)
        area = f"{path}L{last} {number(HEIGHT)}L{first} {number(HEIGHT)}Z"
        marks.append(tag("g", tag("path", d=area, class_="fill"), tag("path", d=path, class_="line"), class_="c0"))
    over = []
    for line, style in ((curve.bound, "cap"), (curve.lesser, "lesser")):
        if line is not None:
            at = (1 - y.share(line[0])) * HEIGHT
            marks.append(tag("line", x1=0.0, x2=WIDTH, y1=at, y2=at, class_=style))
            place = f"bottom:{number(y.share(line[0]) * 100)}%"
            said = f"{line[1]} {amounts.compact(line[0])}"
            over.append(tag("span", said, class_=f"{style}-label", style=place, aria_hidden="true"))
    marks.append(baseline())
    marks += _hits(curve, found.events, x)
    top = max((value for _, value in curve.points), default=0.0)
    bound = f"; {curve.bound[1]} {amounts.compact(curve.bound[0])}" if curve.bound else ""
    description = f"{curve.unit} over {amounts.duration(found.span_s)}: at most {amounts.compact(top)}{bound}."
    return tag(
        "div",
        tag("h3", curve.title),
        plot(
            svg(curve.title, description, marks, identity=identity),
            y_labels(y),
            x_labels(x),
            *over,
            unit=curve.unit,
            x_title=f"time since the beginning, {x.unit}",
        ),
        class_="chart",
    )


def node_lanes(found: Found, *, identity: str) -> Html:
    """Return a lane for each node: how many of its requests arrived at the provider, over time."""
    x = time_axis(max(found.span_s, 1e-3))
    width_s = found.span_s / _BARS
    counts = {node: _binned(times, width_s) for node, times in sorted(found.arrivals.items())}
    highest = max((max(bins) for bins in counts.values()), default=0) or 1
    rows = []
    for node, bins in counts.items():
        own = [event for event in found.events if f"node {node}" in event.what]
        marks = [*_bands(own, x, _LANE), gridlines(x.ticks, height=_LANE)]
        for index, count in enumerate(bins):
            if count:
                tall = max(count / highest, 0.06) * _LANE
                left = index * WIDTH / _BARS
                bar = tag("rect", x=left, width=0.86 * WIDTH / _BARS, y=_LANE - tall, height=tall, class_="bar")
                marks.append(bar)
        for index, count in enumerate(bins):
            when = amounts.between(amounts.instant(index * width_s), amounts.instant((index + 1) * width_s))
            said = f"{when}\nnode {node}: {amounts.times(count, 'request')}"
            marks.append(hit(index / _BARS, (index + 1) / _BARS, said, height=_LANE))
        total = sum(bins)
        drawing = svg(
            f"Requests of node {node} over time",
            f"{amounts.times(total, 'request')} over {amounts.duration(found.span_s)}.",
            [*marks, baseline(_LANE)],
            identity=f"{identity}-{node}",
            height=_LANE,
        )
        lane = tag(
            "div",
            tag("div", f"node {node}", class_="lane-name"),
            tag("div", drawing, class_="area"),
            tag("div", amounts.count(total), class_="lane-sum"),
            class_=f"lane {style_of(node - 1)}",
        )
        rows.append(lane)
    says = f"The tallest bar is {amounts.times(highest, 'request')} in {amounts.duration(width_s)}."
    foot = tag("div", tag("div", x_labels(x), class_="area"), class_="lane foot", aria_hidden="true")
    heading = tag("h3", "Requests of each node, at the provider")
    return tag("div", heading, *rows, foot, tag("p", says, class_="scale"), class_="lanes")


def _binned(times: Sequence[float], width_s: float) -> list[int]:
    bins = [0] * _BARS
    for time_s in times:
        bins[min(_BARS - 1, max(0, int(time_s / width_s)))] += 1
    return bins


def _bands(events: Sequence[Event], x: TimeAxis, height: float) -> list[Html]:
    """Return what lies behind the curve: the times in which something was wrong."""
    found = []
    for event in events:
        left = x.share(event.from_s)
        share = x.share(event.to_s) - left
        moment = share < _MOMENT
        classes = "fault moment" if moment else "fault"
        found.append(
            tag("rect", x=left * WIDTH, width=max(share, _MOMENT) * WIDTH, y=0.0, height=height, class_=classes)
        )
    return found


def _hits(curve: Curve, events: Sequence[Event], x: TimeAxis) -> list[Html]:
    """Return what is said where the curve is pointed at: its value, and what was wrong just then."""
    found = []
    places = [x.share(at_s) for at_s, _ in curve.points]
    half = (places[1] - places[0]) / 2 if len(places) > 1 else 0.5
    for (at_s, value), place in zip(curve.points, places, strict=True):
        wrong = [event.what for event in events if event.from_s <= at_s <= event.to_s]
        said = "\n".join([amounts.instant(at_s), f"{amounts.compact(value)} {curve.unit}", *wrong])
        found.append(hit(max(0.0, place - half), min(1.0, place + half), said))
    return found
