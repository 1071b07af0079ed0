"""Charts of lanes over one time axis: errors, retries, breaker states. Each lane says in words what it shows."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from spillway.batch.report.breaker_track import BreakerTrack, Span
from spillway.batch.report.timeline import View
from spillway.drawing import amounts
from spillway.drawing.frame import WIDTH, baseline, gridlines, hit, svg, x_labels
from spillway.drawing.markup import Html, number, tag
from spillway.drawing.scales import TimeAxis, time_axis
from spillway.remote.circuit_breaker import CircuitState

_HEIGHT = 40.0
_SLIVER = 0.006
"""Share of the width that a state is given at least: one that lasted a moment must be seen."""

_NARROW = 0.09
"""A share of the width that holds no word."""

_LEVEL = {CircuitState.CLOSED: 0.2, CircuitState.HALF_OPEN: 0.6, CircuitState.OPEN: 1.0}
WORDS = {CircuitState.CLOSED: "closed", CircuitState.HALF_OPEN: "half-open", CircuitState.OPEN: "open"}
"""States as the page names them."""

_ORDER = (CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN)


class Lane(msgspec.Struct, frozen=True):
    """What happened how often in each bin."""

    group: str
    name: str
    values: Sequence[int]


def bars(view: View, lanes: Sequence[Lane], *, identity: str, noun: str, kind: str) -> Html:
    """Return a lane of bars each, all to one scale; `noun` is what is counted, `kind` the class of its bars."""
    axis = time_axis(view.span_s)
    highest = max(max(lane.values) for lane in lanes)
    rows: list[Html] = []
    for i, lane in enumerate(lanes):
        if lane.group and (i == 0 or lanes[i - 1].group != lane.group):
            rows.append(tag("h3", lane.group))
        drawn = [gridlines(axis.ticks, height=_HEIGHT)]
        hits = []
        for value, begin, end in zip(lane.values, view.edges, view.edges[1:], strict=False):
            if value:
                left, right = axis.share(begin), axis.share(end)
                # A single failure beside a thousand is still to be seen.
                tall = max(value / highest, 0.08) * _HEIGHT
                width = max((right - left) * 0.86, 0.002) * WIDTH
                drawn.append(
                    tag("rect", x=left * WIDTH, width=width, y=_HEIGHT - tall, height=tall, class_=f"bar {kind}")
                )
                when = amounts.between(amounts.instant(begin), amounts.instant(end))
                said = f"{when}\n{lane.name}: {amounts.times(value, noun)}"
                hits.append(hit(left, right, said, height=_HEIGHT))
        total = sum(lane.values)
        where = f" of {lane.group}" if lane.group else ""
        drawing = svg(
            f"{lane.name}{where} over time",
            f"{amounts.times(total, noun)} over {amounts.duration(view.span_s)}, "
            f"at most {amounts.count(max(lane.values))} in one bar.",
            [*drawn, baseline(_HEIGHT), *hits],
            identity=f"{identity}-{i}",
            height=_HEIGHT,
        )
        rows.append(_lane(lane.name, drawing, amounts.count(total)))
    width = view.edges[1] - view.edges[0]
    scale = f"The tallest bar is {amounts.times(highest, noun)} in {amounts.duration(width)}."
    return tag("div", *rows, _foot(axis), tag("p", scale, class_="scale"), class_="lanes")


def strips(recorded: Sequence[tuple[str, BreakerTrack]], *, origin: float, span_s: float, identity: str) -> Html:
    """Return a strip of states for each breaker: the taller, the less it lets through."""
    axis = time_axis(span_s)
    rows = [_key()]
    for i, (name, track) in enumerate(recorded):
        until = origin + span_s
        spans = [_relative(span, origin, axis) for span in track.spans(until)]
        drawn = [gridlines(axis.ticks, height=_HEIGHT)]
        # The shortest last: a moment, drawn wider than it was, lies upon what came before and after.
        drawn += [_block(span) for span in sorted(spans, key=lambda span: span.begin - span.end)]
        hits = [
            hit(s.begin, max(s.end, s.begin + _SLIVER), _told(span, origin), height=_HEIGHT)
            for s, span in zip(spans, track.spans(until), strict=True)
        ]
        over = [_word(span) for span in spans if span.end - span.begin >= _NARROW]
        opened = track.entered[CircuitState.OPEN]
        open_s = track.seconds(CircuitState.OPEN, until)
        lasting = f", {amounts.duration(open_s)} in all" if open_s else ""
        description = f"Opened {amounts.times(opened, 'time')}{lasting}; {WORDS[track.state]} at the end."
        drawing = svg(
            f"Circuit breaker of {name} over time",
            description,
            [*drawn, baseline(_HEIGHT), *hits],
            identity=f"{identity}-{i}",
            height=_HEIGHT,
        )
        remark = (
            f"opened {amounts.times(opened, 'time')}, {amounts.duration(open_s)}"
            if opened or open_s
            else "never opened"
        )
        rows.append(_lane(name, drawing, remark, *over))
    return tag("div", *rows, _foot(axis), class_="lanes strips")


def _lane(name: str, drawing: Html, remark: str, *over: Html) -> Html:
    return tag(
        "div",
        tag("span", name, class_="lane-name"),
        tag("div", drawing, *over, class_="area"),
        tag("span", remark, class_="lane-sum"),
        class_="lane",
    )


def _foot(axis: TimeAxis) -> Html:
    title = tag("div", f"time since the start, {axis.unit}", class_="x-title", aria_hidden="true")
    return tag("div", tag("div", x_labels(axis), title, class_="area"), class_="lane foot")


def _relative(span: Span, origin: float, axis: TimeAxis) -> Span:
    return Span(axis.share(span.begin - origin), axis.share(span.end - origin), span.state)


def _block(span: Span) -> Html:
    tall = _LEVEL[span.state] * _HEIGHT
    left = min(span.begin, 1 - _SLIVER)
    return tag(
        "rect",
        x=left * WIDTH,
        width=max(span.end - span.begin, _SLIVER) * WIDTH,
        y=_HEIGHT - tall,
        height=tall,
        class_=f"state {span.state.name.lower()}",
    )


def _word(span: Span) -> Html:
    left, width = number(span.begin * 100), number((span.end - span.begin) * 100)
    return tag(
        "span",
        WORDS[span.state],
        class_=f"state-word {span.state.name.lower()}",
        style=f"left:{left}%;width:{width}%",
        aria_hidden="true",
    )


def _told(span: Span, origin: float) -> str:
    begin, end = span.begin - origin, span.end - origin
    when = amounts.between(amounts.instant(begin), amounts.instant(end))
    return f"{when}\n{WORDS[span.state]} for {amounts.duration(end - begin)}"


def _key() -> Html:
    """Return what the three states look like."""
    entries = []
    for state, says in zip(_ORDER, ("everything passes", "a few probes pass", "nothing passes"), strict=True):
        tall = _LEVEL[state] * 14
        block = tag("rect", x=0.0, width=20.0, y=14 - tall, height=tall, class_=f"state {state.name.lower()}")
        swatch = tag("svg", block, viewBox="0 0 20 14", class_="swatch", aria_hidden="true")
        entries.append(tag("li", swatch, tag("span", WORDS[state], class_="name"), tag("span", says, class_="remark")))
    return tag("ul", *entries, class_="legend")
