"""The top of the page: how the run ended, its numbers, and the table of deployments."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.batch.report.headline import Headline, Row
from spillway.drawing import amounts
from spillway.drawing.frame import line_swatch, nothing
from spillway.drawing.markup import Html, join, number, tag

_ENDINGS = {
    "through": "Complete",
    "gave_up": "Gave up",
    "max_cost": "Stopped at the cost limit",
    "disk": "Stopped: the disk failed",
    "interrupted": "Interrupted",
    "terminated": "Terminated",
}


def header(line: Headline, written: str) -> Html:
    """Return the head of the page."""
    files = [
        tag("div", tag("dt", word), tag("dd", tag("code", name)))
        for word, name in (("Input", line.input), ("Output", line.output))
        if name
    ]
    return tag(
        "header",
        tag("p", tag("span", "Spillway", class_="brand"), " run report", class_="kicker"),
        tag("h1", _title(line)),
        _verdict(line),
        tag("dl", *files, tag("div", tag("dt", "Written"), tag("dd", written)), class_="files"),
    )


def _title(line: Headline) -> str:
    if not line.lines:
        return "There was nothing to answer"
    return f"{amounts.count(line.ok)} of {amounts.times(line.lines, 'line')} answered"


def _verdict(line: Headline) -> Html:
    early = line.ending not in {"through", ""}
    if early:
        kind, mark, words = "stopped", "■", _ENDINGS.get(line.ending, f"Stopped: {line.ending.replace('_', ' ')}")
    elif line.failed:
        kind, mark, words = "partly", "!", f"Complete, with {amounts.times(line.failed, 'error line')}"
    elif line.unwritten:
        kind, mark, words = "stopped", "■", "Not complete"
    else:
        kind, mark, words = "well", "✓", "Complete"
    code = "" if line.exit_code is None else f"exit {line.exit_code}"
    return tag(
        "p",
        tag("span", tag("span", mark, class_="mark", aria_hidden="true"), words, class_=f"pill {kind}"),
        tag("span", code, class_="remark") if code else None,
        tag("span", line.message, class_="message") if line.message else None,
        class_="verdict",
    )


def tiles(line: Headline) -> Html:
    """Return the numbers of the run."""
    now = line.ok + line.failed - line.earlier
    speed = now / line.elapsed_s if line.elapsed_s > 0 else None
    tokens = line.input_tokens + line.output_tokens
    found = [
        _lines_tile(line),
        _tile("Time", amounts.duration(line.elapsed_s), "of this process" if line.earlier else "from start to end"),
        _tile(
            "Lines per second",
            amounts.NONE if speed is None else amounts.compact(speed),
            "answers and error lines, mean",
        ),
        _tile("Attempts", amounts.compact(line.attempts), _repeated(line), full=amounts.count(line.attempts)),
        _tile(
            "Tokens",
            amounts.compact(tokens),
            f"{amounts.compact(line.input_tokens)} in, {amounts.compact(line.output_tokens)} out",
            full=amounts.count(tokens),
        ),
        _cost_tile(line),
    ]
    return tag("section", *found, class_="tiles", aria_label="The run in numbers")


def _repeated(line: Headline) -> str:
    if not line.attempts:
        return "nothing was sent"
    return f"{amounts.count(line.retried)} repeated" if line.retried else "none repeated"


def _tile(name: str, value: str, says: str, *, full: str | None = None, extra: Html | None = None) -> Html:
    return tag(
        "div",
        tag("div", name, class_="tile-name"),
        tag("div", value, class_="tile-value", title=full if full != value else None),
        tag("div", says, class_="tile-says"),
        extra,
        class_="tile",
    )


def _lines_tile(line: Headline) -> Html:
    parts = [
        ("well", line.ok, "answered"),
        ("bad", line.failed, amounts_of_errors(line.failed)),
        ("left", line.unwritten, "unwritten"),
    ]
    shares = [
        tag("span", class_=kind, style=f"flex-grow:{number(100 * n / line.lines)}")
        for kind, n, _ in parts
        if n and line.lines
    ]
    entries = [
        tag("li", tag("i", class_=kind), tag("b", amounts.count(n)), f" {words}")
        for kind, n, words in parts
        if n or kind == "well"
    ]
    earlier = f"{amounts.count(line.earlier)} of them on file from an earlier process" if line.earlier else ""
    return tag(
        "div",
        tag("div", "Lines answered", class_="tile-name"),
        tag("div", amounts.percent(line.ok, line.lines), class_="tile-value"),
        tag("div", *shares, class_="share", aria_hidden="true"),
        tag("ul", *entries, class_="parts"),
        tag("div", _codes(line.errors), class_="tile-says") if line.errors else None,
        tag("div", earlier, class_="tile-says") if earlier else None,
        class_="tile wide",
    )


def amounts_of_errors(failed: int) -> str:
    """Return what failed lines are called."""
    return "error line" if failed == 1 else "error lines"


def _codes(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {amounts.count(n)}" for code, n in errors.items())


def _cost_tile(line: Headline) -> Html:
    if not line.cost_known and not line.cost_usd:
        return _tile("Cost", "unknown", "no price is known")
    says = []
    if line.cap_usd is not None:
        says.append(f"{amounts.percent(line.cost_usd or 0.0, line.cap_usd)} of the {amounts.usd(line.cap_usd)} limit")
    elif line.ok and line.cost_known:
        says.append(f"{amounts.usd((line.cost_usd or 0.0) / line.ok)} an answer")
    elif not line.attempts:
        says.append("nothing was spent")
    if not line.cost_known:
        says.append("at least: some prices are unknown")
    full = amounts.usd(line.cost_usd)
    value = full if (line.cost_usd or 0.0) < _LONG_USD else amounts.usd_label(line.cost_usd or 0.0)
    least = "" if line.cost_known else "≥\N{NO-BREAK SPACE}"
    return _tile("Cost", least + value, "; ".join(says), full=least + full)


_LONG_USD = 10_000.0
"""An amount with more digits than a tile has room for."""

_COLUMNS = (
    ("ok", "ok"),
    ("retried", "retried"),
    ("fell back", "fell back"),
    ("failed attempts", "failed attempts, by code"),
    ("p50", "latency p50"),
    ("p95", "latency p95"),
    ("p99", "latency p99"),
    ("TTFT p50", "time to the first content, p50"),
    ("TTFT p95", "time to the first content, p95"),
    ("tokens in", "input tokens"),
    ("tokens out", "output tokens"),
    ("cost", "cost in USD"),
)


def table(line: Headline) -> Html:
    """Return the table of deployments; on a narrow screen each row is a block of its own."""
    if not line.rows:
        return nothing("No deployment was asked.")
    head = tag(
        "tr",
        tag("th", "deployment", scope="col", role="columnheader"),
        *(
            tag("th", short, scope="col", role="columnheader", title=full, class_=_class(short))
            for short, full in _COLUMNS
        ),
        role="row",
    )
    rows = [_row(row, i) for i, row in enumerate(line.rows)]
    if len(line.rows) > 1:
        rows.append(_sum(line))
    idle = tag("p", f"Not asked: {', '.join(line.idle)}.", class_="says") if line.idle else None
    return join(
        [
            tag(
                "div",
                tag(
                    "table",
                    tag("thead", head, role="rowgroup"),
                    tag("tbody", *rows, role="rowgroup"),
                    class_="deployments",
                    role="table",
                ),
                class_="wide-table",
                tabindex="0",
                role="region",
                aria_label="Deployments",
            ),
            *([idle] if idle else []),
        ]
    )


def _row(row: Row, position: int) -> Html:
    cells = (
        amounts.count(row.ok),
        amounts.count(row.retried),
        amounts.count(row.fell_back),
        _failures(row.failed),
        amounts.seconds(row.latency_p50_s),
        amounts.seconds(row.latency_p95_s),
        amounts.seconds(row.latency_p99_s),
        amounts.seconds(row.first_content_p50_s),
        amounts.seconds(row.first_content_p95_s),
        amounts.count(row.input_tokens),
        amounts.count(row.output_tokens),
        amounts.usd_cell(row.cost_usd),
    )
    return tag(
        "tr",
        tag("th", tag("span", line_swatch(position), row.name, class_="who"), scope="row", role="rowheader"),
        *_cells(cells),
        role="row",
    )


def _sum(line: Headline) -> Html:
    rows = line.rows
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    cost = amounts.usd_cell(sum(known)) if known else "unknown"
    cells = (
        amounts.count(sum(row.ok for row in rows)),
        amounts.count(sum(row.retried for row in rows)),
        amounts.count(sum(row.fell_back for row in rows)),
        amounts.count(sum(sum(row.failed.values()) for row in rows)),
        *("" for _ in range(5)),
        amounts.count(sum(row.input_tokens for row in rows)),
        amounts.count(sum(row.output_tokens for row in rows)),
        cost if len(known) == len(rows) or not known else f"≥ {cost}",
    )
    return tag("tr", tag("th", "all", scope="row", role="rowheader"), *_cells(cells), role="row", class_="sum")


def _cells(cells: tuple[str, ...]) -> list[Html]:
    return [
        tag("td", cell, role="cell", data_label=short, class_=_class(short) if cell else "empty")
        for cell, (short, _) in zip(cells, _COLUMNS, strict=True)
    ]


def _class(column: str) -> str | None:
    return "codes" if column == "failed attempts" else None


def _failures(failed: Mapping[str, int]) -> str:
    if not failed:
        return "0"
    parts = [
        tag("span", f"{code}\N{NO-BREAK SPACE}{amounts.count(n)}", class_="code-count") for code, n in failed.items()
    ]
    return join([tag("b", amounts.count(sum(failed.values()))), " ", *_between(parts)])


def _between(parts: list[Html]) -> list[str]:
    return [part for i, each in enumerate(parts) for part in ((", ", each) if i else (each,))]
