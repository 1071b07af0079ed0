"""The plots of the page, one section each: what is drawn from which series, and the same in tables."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from spillway.batch.report import distributions, lanes, lines
from spillway.batch.report.headline import Headline
from spillway.batch.report.recorder import DeploymentTrack, Recorder
from spillway.batch.report.timeline import DRAWN, View
from spillway.drawing import amounts
from spillway.drawing.frame import as_table, figure, nothing
from spillway.drawing.markup import Html, tag
from spillway.remote.circuit_breaker import CircuitState
from spillway.remote.cost import pico_to_usd

_TABLE_ROWS = 24
"""Rows of a table beside a plot over time."""

_A_BIN = 5
"""So many attempts a bin at least: the rate of fewer says more of where the bin begins than of the run."""

_CHANGES = 200
"""Changes of breakers that are listed."""

_UNSENT = "No attempt was sent, so there is nothing to plot."


def plots(line: Headline, recorder: Recorder) -> list[Html]:
    """Return the plots of a run, each a section of the page."""
    tracks = {row.name: recorder.tracks[row.name] for row in line.rows if row.name in recorder.tracks}
    span = max(line.elapsed_s, recorder.latest - recorder.origin)
    view = recorder.timeline.view(span)
    positions = {row.name: i for i, row in enumerate(line.rows)}
    found = []
    most = min(DRAWN, max(1, sum(track.attempts for track in tracks.values()) // _A_BIN))
    if any(track.attempts for track in tracks.values()):
        found += [
            _throughput(recorder.timeline.view(span, most=most), tracks, positions),
            _distributions(tracks, positions),
            _errors(view, tracks),
            _retries(view, tracks),
        ]
    else:
        found.append(figure("Plots", "Throughput, latency, errors and spend.", nothing(_UNSENT), identity="none"))
    if recorder.breakers:
        found.append(_breakers(recorder, view.span_s))
    if any(track.attempts for track in tracks.values()):
        found.append(_spend(view, tracks, positions, line))
    return found


def _throughput(view: View, tracks: dict[str, DeploymentTrack], positions: dict[str, int]) -> Html:
    coarse = view.coarser(_TABLE_ROWS)
    charts = []
    tables = []
    for field, title, unit in (
        ("answers", "Answers over time", "answers per second"),
        ("input_tokens", "Input tokens over time", "input tokens per second"),
        ("output_tokens", "Output tokens over time", "output tokens per second"),
    ):
        drawn = [lines.Line(name, positions[name], view.rates(getattr(track, field))) for name, track in tracks.items()]
        weights = [b - a for a, b in itertools.pairwise(view.edges)]

        def remark(values: Sequence[float], weights: Sequence[float] = weights) -> str:
            mean = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
            return f"mean {amounts.rate(mean)}, peak {amounts.rate(max(values))}"

        charts.append(
            lines.chart(
                view,
                drawn,
                identity=f"throughput-{field}",
                title=title,
                unit=unit,
                word=amounts.rate,
                label=amounts.compact,
                remark=remark,
            )
        )
        columns = [[amounts.compact(v) for v in coarse.rates(getattr(track, field))] for track in tracks.values()]
        tables.append(as_table(f"{title}, {unit}", ["from", "to", *tracks], _by_time(coarse, columns)))
    wide, *narrow = [
        tag("div", tag("h3", heading), chart, table)
        for heading, chart, table in zip(("Answers", "Input tokens", "Output tokens"), charts, tables, strict=True)
    ]
    return figure(
        "Throughput",
        "Whole answers and the tokens of all attempts, per second, when the attempt ended.",
        wide,
        tag("div", *narrow, class_="pair"),
        identity="throughput",
    )


def _by_time(view: View, columns: Sequence[Sequence[str]]) -> list[list[str]]:
    edges = view.edges
    return [
        [amounts.instant(edges[i]), amounts.instant(edges[i + 1]), *(column[i] for column in columns)]
        for i in range(len(edges) - 1)
    ]


def _distributions(tracks: dict[str, DeploymentTrack], positions: dict[str, int]) -> Html:
    says = (
        "How long attempts took that gave a whole answer, and until their first content. Bars are 12 % wide on a "
        "logarithmic axis that all deployments share."
    )
    if not any(track.latency.count for track in tracks.values()):
        return figure("Latency", says, nothing("No attempt succeeded."), identity="latency")
    drawn = [
        distributions.Times(name, positions[name], track.latency, track.first_content) for name, track in tracks.items()
    ]
    rows = []
    for name, track in tracks.items():
        for what, histogram in (("latency", track.latency), ("TTFT", track.first_content)):
            mean = histogram.total / histogram.count if histogram.count else None
            quantiles = [amounts.seconds(histogram.quantile(q)) for q in (0.5, 0.9, 0.95, 0.99)]
            highest = histogram.highest if histogram.count else None
            rows.append(
                [
                    name,
                    what,
                    amounts.count(histogram.count),
                    amounts.seconds(mean),
                    *quantiles,
                    amounts.seconds(highest),
                ]
            )
    headings = ("deployment", "time", "attempts", "mean", "p50", "p90", "p95", "p99", "longest")
    return figure(
        "Latency",
        says,
        distributions.charts(drawn, identity="latency-chart"),
        as_table("Latency and time to the first content", headings, rows),
        identity="latency",
    )


def _errors(view: View, tracks: dict[str, DeploymentTrack]) -> Html:
    found = [
        lanes.Lane(name, code, view.sums(track.errors[code]))
        for name, track in tracks.items()
        for code in track.failed()
    ]
    says = "Failed attempts by deployment and code, retried ones included, when they ended."
    if not found:
        return figure("Errors", says, nothing("No attempt failed.", good=True), identity="errors")
    rows = [
        [
            lane.group,
            lane.name,
            amounts.count(sum(lane.values)),
            amounts.percent(sum(lane.values), tracks[lane.group].attempts),
            *_first_and_last(view, lane.values),
        ]
        for lane in found
    ]
    return figure(
        "Errors",
        says,
        lanes.bars(view, found, identity="errors-chart", noun="attempt", kind="bad"),
        as_table("Failed attempts", ("deployment", "code", "attempts", "of all", "first", "last"), rows),
        identity="errors",
    )


def _retries(view: View, tracks: dict[str, DeploymentTrack]) -> Html:
    found = [lanes.Lane("", name, view.sums(track.repeated)) for name, track in tracks.items() if any(track.repeated)]
    says = (
        "Attempts after the first of the same request, on the same deployment or as its fallback. A line that waited "
        "for an outage to end begins anew."
    )
    if not found:
        return figure("Retries", says, nothing("No attempt was repeated.", good=True), identity="retries")
    rows = [
        [
            lane.name,
            amounts.count(sum(lane.values)),
            amounts.percent(sum(lane.values), tracks[lane.name].attempts),
            *_first_and_last(view, lane.values),
        ]
        for lane in found
    ]
    return figure(
        "Retries",
        says,
        lanes.bars(view, found, identity="retries-chart", noun="attempt", kind="warm"),
        as_table("Repeated attempts", ("deployment", "attempts", "of all", "first", "last"), rows),
        identity="retries",
    )


def _first_and_last(view: View, values: Sequence[int]) -> tuple[str, str]:
    bins = [i for i, value in enumerate(values) if value]
    return amounts.instant(view.edges[bins[0]]), amounts.instant(view.edges[bins[-1] + 1])


def _breakers(recorder: Recorder, span_s: float) -> Html:
    recorded = list(recorder.breakers.items())
    until = recorder.origin + span_s
    rows = []
    inexact = False
    for name, track in recorded:
        inexact |= not track.exact
        rows += [
            [
                name,
                amounts.instant(max(0.0, span.begin - recorder.origin)),
                lanes.WORDS[span.state],
                amounts.duration(span.end - span.begin),
            ]
            for span in track.spans(until)
        ]
    more = len(rows) - _CHANGES
    if more > 0:
        rows = [*rows[:_CHANGES], [f"and {amounts.count(more)} more", "", "", ""]]
    says = "What each circuit breaker did with calls; the taller the bar, the less it let through."
    if inexact:
        says += " Long ago, where there were many changes, only the worst state of each stretch is kept."
    never = all(track.entered[CircuitState.OPEN] == 0 and track.state is CircuitState.CLOSED for _, track in recorded)
    return figure(
        "Circuit breakers",
        says,
        lanes.strips(recorded, origin=recorder.origin, span_s=span_s, identity="breakers-chart"),
        *([nothing("No breaker opened.", good=True)] if never else []),
        as_table("States of the breakers", ("deployment", "from", "state", "for"), rows),
        identity="breakers",
    )


def _spend(view: View, tracks: dict[str, DeploymentTrack], positions: dict[str, int], line: Headline) -> Html:
    priced = {name: track for name, track in tracks.items() if track.cost_known or any(track.cost_pico)}
    unpriced = [name for name, track in tracks.items() if not track.cost_known]
    says = ["What attempts cost, added up when they ended."]
    if line.earlier_cost_usd:
        says.append(f"Earlier processes of this run spent {amounts.usd(line.earlier_cost_usd)}.")
    if unpriced:
        says.append(f"No price is known for {', '.join(unpriced)}; [deployment.pricing] sets one.")
    cap = line.cap_usd
    spent = line.cost_usd or 0.0
    if cap is not None and cap > 4 * spent:
        says.append(f"The limit of {amounts.usd(cap)} lies far above.")
    if not priced:
        return figure("Spend", " ".join(says), nothing("No price is known."), identity="spend")
    drawn = [lines.Line(name, positions[name], _added_up(view.sums(track.cost_pico))) for name, track in priced.items()]
    coarse = view.coarser(_TABLE_ROWS)
    columns = [[amounts.usd(v) for v in _added_up(coarse.sums(track.cost_pico))] for track in priced.values()]
    chart = lines.chart(
        view,
        drawn,
        identity="spend-chart",
        title="Spend over time",
        unit="US dollars, cumulative",
        word=amounts.usd,
        label=amounts.usd_label,
        remark=lambda values: amounts.usd(values[-1]),
        cumulative=True,
        floor=line.earlier_cost_usd,
        ceiling=None if cap is None else lines.Ceiling(cap, f"limit {amounts.usd(cap)}"),
    )
    table = as_table("Spend since the start, US dollars", ["from", "to", *priced], _by_time(coarse, columns))
    return figure("Spend", " ".join(says), chart, table, identity="spend")


def _added_up(sums: Sequence[int]) -> list[float]:
    values = []
    total = 0
    for pico in sums:
        total += pico
        values.append(pico_to_usd(total))
    return values
