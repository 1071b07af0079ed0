"""What one gateway publishes of itself: plain values that `rules.STATE` puts together with those of others."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.gateway.admin.history import BUCKET_S, Track
from spillway.telemetry.readings import Distribution, Reading

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.telemetry.catalog import Metric

BETWEEN = "\x1f"
"""Between two labels of a row."""

COUNTED = "spillway_process_cpu_seconds"
"""What of a process only grows."""

NANO = 10**9
"""Seconds and dollars that only grow are published as whole billionths: their sum is the same in whatever order, so
that no counter falls by a rounding, which Prometheus would take for a restart."""


class Published:
    """Reads all that one gateway publishes.

    Args:
        node: its id among those that share a store.

    Attributes:
        worker: what it is called: host, process id, and what makes that its own.
    """

    def __init__(self, gateway: Gateway, node: str) -> None:
        self._gateway = gateway
        self._base: dict[str, Any] = {}
        self._first_bucket = 0
        self.worker = f"{socket.gethostname()}:{os.getpid()}:{node[:4]}{node[-2:]}"

    def read(self) -> dict[str, Any]:
        """Return all pieces by name, as they are now."""
        console = self._gateway.console
        state = console.drawn()
        readings = self._gateway.counts.read(self._gateway, scraped=False)
        process = _process()
        epoch = console.epoch
        tracks = self._tracks(epoch)
        current = int((epoch + console.now()) // BUCKET_S)
        cpu = {name: round(value * NANO) for name, value in process.items() if name == COUNTED}
        counts = {
            "readings": _rows(reading for reading in readings if reading.metric.kind != "gauge"),
            "process": cpu,
            "since_start": {row["name"]: self._since_start(row) for row in state["deployments"]},
        }
        return {
            "now": {
                "gateway": {name: state["gateway"][name] for name in ("ready", "draining", "up_s", "reloads")},
                "workers": [self._worker(state["gateway"])],
                "deployments": [
                    {name: value for name, value in row.items() if name not in {"last_15_min", "since_start"}}
                    for row in state["deployments"]
                ],
                "keys": state["keys"],
                "gauges": _rows(reading for reading in readings if reading.metric.kind == "gauge"),
                "process": {name: value for name, value in process.items() if name not in cpu},
            },
            "counts": minus(counts, self._base) if self._base else counts,
            "tracks": _kept(tracks, lambda number: self._first_bucket <= number < current),
            "newest_tracks": _kept(tracks, lambda number: number >= max(current, self._first_bucket)),
            "requests": [{**row, "worker": self.worker} for row in console.recent.since(0, epoch)],
            "journal": [{**row, "worker": self.worker} for row in console.journal.since(0)],
        }

    def begin_anew(self) -> None:
        """Leave out from now on what has been counted until now."""
        self._base = {}
        console = self._gateway.console
        self._base = self.read()["counts"]
        self._first_bucket = int((console.epoch + console.now()) // BUCKET_S) + 1

    def _worker(self, gateway: dict[str, Any]) -> dict[str, Any]:
        return {
            "worker": self.worker,
            "ready": gateway["ready"],
            "draining": gateway["draining"],
            "up_s": gateway["up_s"],
            "in_flight": self._gateway.in_flight,
            "requests": self._gateway.console.recent.count,
        }

    def _since_start(self, row: dict[str, Any]) -> dict[str, Any]:
        seen = self._gateway.cluster.deployment(row["name"]).metrics()
        more = {"usage_rows": seen.usage_rows, "cached_tokens": seen.cached_tokens, "spent_usd": seen.cost_usd}
        return {**row["since_start"], **more}

    def _tracks(self, epoch: float) -> dict[str, Any]:
        history, now = self._gateway.console.history, self._gateway.console.now()

        def told(track: Track) -> list[dict[str, Any]]:
            # By the wall, which all share; a bucket of ours begins up to 10 s before that of the same number.
            numbers = ((bucket, int((epoch + bucket.number * BUCKET_S) // BUCKET_S)) for bucket in track.within(now))
            return [bucket.facts(number) for bucket, number in numbers]

        by_deployment = {name: told(track) for name, track in history.by_deployment.items()}
        return {"whole": told(history.whole), "by_deployment": by_deployment}


def minus(one: Any, other: Any) -> Any:
    """Return what `one` has beyond `other`, place by place."""
    if isinstance(one, dict):
        return {key: minus(value, (other or {}).get(key)) for key, value in one.items()}
    if isinstance(one, list):
        return [minus(a, b) for a, b in zip(one, other or [0] * len(one), strict=False)]
    return one if one is None else one - (other or 0)


def readings_of(rows: dict[str, Any], metrics: Iterable[Metric]) -> list[Reading]:
    """Return the readings that these rows were made of, put together: one for each metric."""
    return [Reading(metric, [_row(metric, *row) for row in rows.get(metric.name, {}).items()]) for metric in metrics]


def _row(metric: Metric, labels: str, value: Any) -> tuple[tuple[str, ...], float | Distribution]:
    names = tuple(labels.split(BETWEEN)) if labels else ()
    if isinstance(value, list):
        *up_to, recorded, spent = value
        return names, Distribution(up_to, recorded, spent / NANO)
    return names, value / NANO if _is_fraction(metric) else value


def _rows(readings: Iterable[Reading]) -> dict[str, Any]:
    return {
        reading.metric.name: {BETWEEN.join(labels): _value(reading.metric, value) for labels, value in reading.rows}
        for reading in readings
    }


def _value(metric: Metric, value: float | Distribution) -> Any:
    if isinstance(value, Distribution):
        return [*value.up_to, value.recorded, round(value.total * NANO)]
    if _is_fraction(metric):
        return round(value * NANO)
    return int(value) if isinstance(value, bool) else value


def _is_fraction(metric: Metric) -> bool:
    return metric.kind == "counter" and metric.name.endswith("_usd_total")


def _kept(tracks: dict[str, Any], keeps: Callable[[int], bool]) -> dict[str, Any]:
    def those(buckets: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [bucket for bucket in buckets if keeps(bucket["number"])]

    by_deployment = {name: those(buckets) for name, buckets in tracks["by_deployment"].items()}
    return {"whole": those(tracks["whole"]), "by_deployment": by_deployment}


def _process() -> dict[str, float]:
    try:
        from spillway.telemetry.prometheus import process_metrics  # noqa: PLC0415 - an extra, which an app may lack
    except ModuleNotFoundError:
        return {}
    return process_metrics()


def as_text(piece: Any) -> str:
    """Return a piece as it is published."""
    return msgspec.json.encode(piece).decode()
