"""The numbers of a whole run, from whatever tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from spillway.batch.report.recorder import DeploymentTrack, Recorder
from spillway.remote.classify.redaction import one_line
from spillway.remote.cost import pico_to_usd

_MESSAGE = 400


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment in the table; times in seconds.

    Attributes:
        ok: requests answered.
        retried: attempts after the first of their request.
        failed: failed attempts by code, most frequent first.
        cost_usd: None when its price is unknown.
    """

    name: str
    ok: int
    retried: int
    fell_back: int
    failed: dict[str, int]
    attempts: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    first_content_p50_s: float | None
    first_content_p95_s: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """What the page says at its top; counts of lines include those of earlier processes.

    Attributes:
        ending: why the run ended, empty when nobody says.
        message: that in one line, masked.
        earlier: lines on file that an earlier process of the run wrote.
        cost_usd: of all processes; None when nobody says.
        earlier_cost_usd: of it, what this process did not spend.
        cap_usd: the run's cap, None without one.
        rows: deployments that were asked.
        idle: names of those that were not.
    """

    ending: str
    message: str
    input: str
    output: str
    exit_code: int | None
    lines: int
    ok: int
    failed: int
    errors: dict[str, int]
    unwritten: int
    earlier: int
    attempts: int
    retried: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    cost_known: bool
    earlier_cost_usd: float
    cap_usd: float | None
    elapsed_s: float
    rows: tuple[Row, ...]
    idle: tuple[str, ...]


class _Fields:
    """Fields of a summary, which is a mapping, an object with attributes, or None."""

    def __init__(self, source: object) -> None:
        self._source = source

    def get(self, *names: str) -> Any:
        """Return the first of the fields that is there and not None."""
        for name in names:
            source = self._source
            found = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
            if found is not None:
                return found
        return None

    def count(self, *names: str) -> int | None:
        """Return a field that is a number of things."""
        found = self.get(*names)
        return int(found) if isinstance(found, int | float) else None

    def amount(self, *names: str) -> float | None:
        """Return a field that is an amount or a time."""
        found = self.get(*names)
        return float(found) if isinstance(found, int | float) else None

    def text(self, *names: str) -> str:
        """Return a field in words, masked and in one line."""
        found = self.get(*names)
        return "" if found is None else one_line(str(found), _MESSAGE)

    def counts(self, *names: str) -> dict[str, int] | None:
        """Return a field that counts by name, the most frequent first."""
        found = self.get(*names)
        if not isinstance(found, Mapping):
            return None
        counts = {str(name): int(number) for name, number in found.items() if number}
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read(summary: object, recorder: Recorder, *, cap_usd: float | None = None) -> Headline:
    """Return the headline of a run.

    Args:
        summary: a `RunSummary`, a mapping with its fields, or None; what it does not say comes from the recorder.
        cap_usd: the run's cap, where the summary has no `max_cost_usd`.
    """
    told = _Fields(summary)
    rows, idle = _rows(told.get("deployments"), recorder)
    ok = _or(told.count("ok"), sum(row.ok for row in rows))
    errors = told.counts("errors")
    if errors is None:
        errors = _failed_requests(recorder)
    failed = _or(told.count("failed"), sum(errors.values()))
    lines = _or(told.count("lines", "total"), ok + failed)
    written_now = told.count("written_now")
    recorded = pico_to_usd(sum(sum(track.cost_pico) for track in recorder.tracks.values()))
    earlier = max(0, ok + failed - written_now) if written_now is not None else 0
    cost = _or(told.amount("cost_usd"), recorded)
    known = told.get("cost_known")
    return Headline(
        ending=told.text("ending", "exit_reason", "reason"),
        message=told.text("message"),
        input=told.text("input"),
        output=told.text("output"),
        exit_code=told.count("exit_code"),
        lines=lines,
        ok=ok,
        failed=failed,
        errors=errors,
        unwritten=_or(told.count("unwritten"), max(0, lines - ok - failed)),
        earlier=earlier,
        attempts=_or(told.count("attempts"), sum(track.attempts for track in recorder.tracks.values())),
        retried=_or(told.count("retried"), sum(row.retried for row in rows)),
        input_tokens=_or(told.count("input_tokens"), sum(row.input_tokens for row in rows)),
        output_tokens=_or(told.count("output_tokens"), sum(row.output_tokens for row in rows)),
        cost_usd=cost,
        cost_known=bool(known) if known is not None else all(track.cost_known for track in recorder.tracks.values()),
        earlier_cost_usd=max(0.0, cost - recorded) if earlier else 0.0,
        cap_usd=cap_usd if cap_usd is not None else told.amount("max_cost_usd"),
        elapsed_s=_or(told.amount("elapsed_s", "seconds"), recorder.latest - recorder.origin),
        rows=rows,
        idle=idle,
    )


def _or(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given


def _failed_requests(recorder: Recorder) -> dict[str, int]:
    counts: dict[str, int] = {}
    for track in recorder.tracks.values():
        for code, number in track.outcomes.items():
            if code not in {"ok", "cancelled"}:
                counts[code] = counts.get(code, 0) + number
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _rows(deployments: object, recorder: Recorder) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Return a row for each deployment that did something, and the names of the others."""
    told: Mapping[str, object] = deployments if isinstance(deployments, Mapping) else {}
    rows: list[Row] = []
    idle: list[str] = []
    for name in dict.fromkeys([*map(str, told), *recorder.tracks]):
        track = recorder.tracks.get(name)
        metrics = told.get(name)
        if track is None and not (_Fields(metrics).count("requests") or _Fields(metrics).count("refused")):
            idle.append(name)
        else:
            rows.append(_row(name, metrics, track or DeploymentTrack(recorder.timeline)))
    return tuple(rows), tuple(idle)


def _row(name: str, metrics: object, track: DeploymentTrack) -> Row:
    told = _Fields(metrics)
    latency, first = track.latency, track.first_content
    failed = told.counts("errors")
    recorded_cost = pico_to_usd(sum(track.cost_pico)) if track.cost_known else None
    return Row(
        name=name,
        ok=_or(told.count("succeeded"), track.outcomes["ok"]),
        # What was sent again, as the plot has it; a deployment also counts retries that a refusal kept from being sent.
        retried=sum(track.repeated),
        fell_back=_or(told.count("fell_back"), track.fell_back),
        failed=track.failed() if failed is None else failed,
        attempts=_or(told.count("attempts"), track.attempts),
        latency_p50_s=_or(told.amount("latency_p50_s"), latency.quantile(0.5)),
        latency_p95_s=_or(told.amount("latency_p95_s"), latency.quantile(0.95)),
        latency_p99_s=_or(told.amount("latency_p99_s"), latency.quantile(0.99)),
        first_content_p50_s=_or(told.amount("first_content_p50_s"), first.quantile(0.5)),
        first_content_p95_s=_or(told.amount("first_content_p95_s"), first.quantile(0.95)),
        input_tokens=_or(told.count("input_tokens"), sum(track.input_tokens)),
        output_tokens=_or(told.count("output_tokens"), sum(track.output_tokens)),
        cost_usd=recorded_cost if metrics is None else told.amount("cost_usd"),
    )
