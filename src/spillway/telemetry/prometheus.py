"""Readings as Prometheus knows them, and a Cluster as a collector for a program's own registry."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from spillway.telemetry.engines import read_engines
from spillway.telemetry.readings import Distribution, Reading

if TYPE_CHECKING:
    from spillway.remote.engine import Engine

_PATIENCE_S = 5.0
_OPENMETRICS = "application/openmetrics-text"
_OPENMETRICS_TYPE = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"


class Watched(Protocol):
    """What is collected from; a Cluster is one."""

    def engines(self) -> Mapping[str, Sequence[Engine]]:
        """Return the engines of each deployment; none before its start."""
        ...


class ClusterCollector(Collector):
    """All metrics of a Cluster, by deployment, for a registry of `prometheus_client`.

    They are read on the Cluster's own loop, from whichever thread a scrape comes; a scrape of a Cluster that has not
    begun, that has ended, or whose loop is busy for 5 s, yields none of them.
    """

    def __init__(self, cluster: Watched) -> None:
        self._cluster = cluster

    def collect(self) -> Iterator[Family]:
        """Return all families, each once."""
        return families(self._read())

    def describe(self) -> Iterable[Family]:
        """Return nothing: to register it reads nothing."""
        return ()

    def _read(self) -> list[Reading]:
        engines = self._cluster.engines()
        entries = next(iter(engines.values()), ())
        if not entries:
            return []
        loop = entries[0].loop
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            return read_engines(engines)
        answer: concurrent.futures.Future[list[Reading]] = concurrent.futures.Future()

        def read() -> None:
            try:
                answer.set_result(read_engines(self._cluster.engines()))
            except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
                answer.set_exception(error)

        try:
            loop.call_soon_threadsafe(read)
            return answer.result(_PATIENCE_S)
        except (RuntimeError, TimeoutError):
            return []


def families(readings: Iterable[Reading]) -> Iterator[Family]:
    """Return readings as families of `prometheus_client`, those without rows included."""
    for reading in readings:
        metric = reading.metric
        if metric.kind == "histogram":
            yield _histogram(reading)
            continue
        kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        for labels, value in reading.rows:
            if not isinstance(value, Distribution):
                family.add_metric(labels, value)
        yield family


def expose(
    readings: Sequence[Reading], accept: str, *, process: Mapping[str, float] | None = None
) -> tuple[bytes, str]:
    """Return readings and the process's own metrics as text, and its content type.

    Args:
        accept: the request's header; OpenMetrics 1.0 where it names that, else Prometheus's own format.
        process: by name, in place of those of this process.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Read(readings))
    registry.register(_Processes(process_metrics() if process is None else process))
    if _OPENMETRICS in accept.lower():
        text: bytes = openmetrics.generate_latest(registry)  # type: ignore[no-untyped-call] # it says nothing of its types
        return text, _OPENMETRICS_TYPE
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4


def process_metrics() -> dict[str, float]:
    """Return what the system tells of this process, by the names of `prometheus_client`."""
    found = ProcessCollector(namespace="spillway", registry=None).collect()
    return {family.name: family.samples[0].value for family in found if family.samples}


class _Processes(Collector):
    """What the system tells of one process, or of several, put together."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self._values = values

    def collect(self) -> Iterator[Family]:
        for family in ProcessCollector(namespace="spillway", registry=None).collect():
            value = self._values.get(family.name)
            if value is None:
                continue
            kind = CounterMetricFamily if family.type == "counter" else GaugeMetricFamily
            yield kind(family.name, family.documentation, value=value)

    def describe(self) -> Iterable[Family]:
        return ()


class _Read(Collector):
    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        return families(self._readings)

    def describe(self) -> Iterable[Family]:
        return ()


def _histogram(reading: Reading) -> HistogramMetricFamily:
    metric = reading.metric
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    edges = [*map(str, metric.edges), "+Inf"]
    for labels, value in reading.rows:
        if isinstance(value, Distribution):
            family.add_metric(labels, list(zip(edges, [*value.up_to, value.recorded], strict=True)), value.total)
    return family
