"""Charts of how long answers took: histograms with their percentiles marked."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from spillway.drawing import amounts
from spillway.drawing.frame import (
    HEIGHT,
    WIDTH,
    baseline,
    gridlines,
    hit,
    nothing,
    plot,
    style_of,
    svg,
    x_labels,
    y_labels,
)
from spillway.drawing.markup import Html, number, tag
from spillway.drawing.scales import LogAxis, linear, log_axis
from spillway.remote.engine.metrics import Histogram

_STEP = 10 ** (1 / 20)
"""Ratio of the edges of a histogram's bucket."""

_LOWEST_S = 1e-4
PERCENTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
"""What is marked."""

_HEADROOM = 1.12

_CROWDED = 0.68
"""Share of the width from which a word has no room on the right, on the narrowest screen."""


class Times(msgspec.Struct, frozen=True):
    """The durations of one deployment."""

    name: str
    position: int
    latency: Histogram
    first_content: Histogram


def charts(deployments: Sequence[Times], *, identity: str) -> Html:
    """Return two histograms for each deployment, all on one axis of time."""
    edges = [
        edge
        for times in deployments
        for histogram in (times.latency, times.first_content)
        for upper, _ in histogram.buckets()
        for edge in (max(upper, _LOWEST_S) / _STEP, max(upper, _LOWEST_S))
    ]
    axis = log_axis(edges, amounts.tick_seconds)
    rows = []
    for i, times in enumerate(deployments):
        panels = (
            ("Latency", "the whole answer", times.latency),
            ("TTFT", "to the first content", times.first_content),
        )
        drawn = [
            _panel(times, short, says, histogram, axis, identity=f"{identity}-{i}-{j}")
            for j, (short, says, histogram) in enumerate(panels)
        ]
        rows.append(tag("h3", times.name))
        rows.append(tag("div", *drawn, class_="pair"))
    return tag("div", *rows, class_="distributions")


def _panel(times: Times, short: str, says: str, histogram: Histogram, axis: LogAxis, *, identity: str) -> Html:
    heading = tag("h4", short, tag("span", f" {says}, {amounts.times(histogram.count, 'attempt')}", class_="remark"))
    if not histogram.count:
        return tag("div", heading, nothing("no attempt succeeded"), class_="panel")
    buckets = histogram.buckets()
    y = linear(_HEADROOM * max(n for _, n in buckets), amounts.compact, about=3, whole=True)
    marks = [gridlines(axis.ticks, y.ticks)]
    hits = []
    for upper, n in buckets:
        left, right = axis.share(upper / _STEP), axis.share(upper)
        tall = max(y.share(n) * HEIGHT, 1.5)
        marks.append(
            tag(
                "rect",
                x=left * WIDTH + 0.6,
                width=max((right - left) * WIDTH - 1.2, 1.0),
                y=HEIGHT - tall,
                height=tall,
                class_="bar",
            )
        )
        said = (
            f"{amounts.between(amounts.seconds(upper / _STEP), amounts.seconds(upper))}\n{amounts.times(n, 'attempt')}"
        )
        hits.append(hit(left, right, said))
    found = [(word, histogram.quantile(share) or 0.0) for share, word in PERCENTILES]
    for word, value in found:
        at = axis.share(value) * WIDTH
        marks.append(tag("line", x1=at, x2=at, y1=0.0, y2=HEIGHT, class_=f"mark {word}"))
    marks.append(baseline())
    description = f"{amounts.times(histogram.count, 'attempt')}; " + ", ".join(
        f"{word} {amounts.seconds(value)}" for word, value in found
    )
    drawing = svg(f"{short} of {times.name}", description, [*marks, *hits], identity=identity)
    return tag(
        "div",
        heading,
        plot(
            drawing,
            y_labels(y),
            x_labels(axis),
            above=_marked(found, axis),
            unit="attempts",
            x_title="time, logarithmic",
        ),
        class_=f"panel {style_of(times.position)}",
    )


def _marked(found: Sequence[tuple[str, float]], axis: LogAxis) -> Html:
    """Return the percentiles in words, each on a line of its own above its mark.

    Words stand to the right of their marks, the lowest on top, so that no word lies on the mark of another; near the
    right end it is the other way round.
    """
    places = [axis.share(value) for _, value in found]
    mirrored = places[-1] > _CROWDED and places[0] > 1 - _CROWDED
    labels = []
    for (word, value), share in zip(found, places, strict=True):
        left = share > _CROWDED or mirrored
        place = f"right:{number((1 - share) * 100)}%" if left else f"left:{number(share * 100)}%"
        side = "left" if left else "right"
        text = tag("span", tag("b", word), f" {amounts.seconds(value)}", class_=side, style=place)
        labels.append(tag("div", text, class_=f"mark-row {word}"))
    if mirrored:
        labels.reverse()
    return tag("div", *labels, class_="marked", aria_hidden="true")
