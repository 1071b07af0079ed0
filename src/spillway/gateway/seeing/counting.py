"""Counts every request of a gateway as it ends, and reads them at a scrape."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spillway import __version__
from spillway.remote.cost import pico_to_usd
from spillway.telemetry.catalog import GATEWAY, METRICS
from spillway.telemetry.engines import Row, budget_rows, limits_in, read_engines, tokens_by_kind
from spillway.telemetry.readings import NONE, Distribution, Reading, Tally, Timings, grouped

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.served import Served


class RequestCounts:
    """A listener of the gateway: counters and histograms of its requests.

    No label holds what a caller can make up: doors, models, deployments and keys are those of the configuration, what
    is unknown is `(none)`; every table has a last row for what would be too many.

    Attributes:
        scraping: held by the one scrape that is written out.

    Complexity: O(1) a request, about 2 µs.
    """

    def __init__(self) -> None:
        self.scraping = asyncio.Lock()
        self._requests = Tally(4)
        self._durations = Timings(2)
        self._first_contents = Timings(2)
        self._overheads = Timings(1)
        self._refusals = Tally(2)
        self._disconnects = Tally(1)
        self._key_requests = Tally(1)
        self._key_tokens = Tally(2)
        self._key_pico = Tally(1)

    def on_served(self, record: Served) -> None:
        """Count one request."""
        door = record.door or NONE
        model = record.model or NONE
        self._requests.add((door, model, record.deployment or NONE, record.outcome))
        self._durations.record((door, model), record.elapsed_s)
        self._overheads.record((door,), record.overhead_s)
        if record.first_content_s is not None:
            self._first_contents.record((door, model), record.first_content_s)
        if record.limited_by is not None:
            self._refusals.add((door, record.limited_by))
        if record.outcome == "cancelled":
            self._disconnects.add((door,))
        key = record.caller
        if key:
            self._key_requests.add((key,))
            if record.usage is not None:
                for kind, tokens in tokens_by_kind(record.usage):
                    self._key_tokens.add((key, kind), tokens)
            if record.cost_pico:
                self._key_pico.add((key,), record.cost_pico)

    def read(self, gateway: Gateway, *, scraped: bool = True) -> list[Reading]:
        """Return the readings of the gateway and of its Cluster; called on its loop.

        Args:
            scraped: whether one of the requests under way is the scrape.
        """
        counted = {
            "requests_total": self._requests.rows(),
            "refusals_total": self._refusals.rows(),
            "disconnects_total": self._disconnects.rows(),
            "key_requests_total": self._key_requests.rows(),
            "key_tokens_total": self._key_tokens.rows(),
        }
        timed = {
            "request_duration_seconds": self._durations,
            "first_content_seconds": self._first_contents,
            "overhead_seconds": self._overheads,
        }
        read = {f"spillway_{name}": rows for name, rows in counted.items()}
        for name, timings in timed.items():
            read[f"spillway_{name}"] = timings.rows(METRICS[f"spillway_{name}"])
        read["spillway_key_cost_usd_total"] = [
            (labels, pico_to_usd(int(pico)))
            for labels, pico in self._key_pico.rows()
            if not isinstance(pico, Distribution)
        ]
        for reading in grouped(_now(gateway, gateway.in_flight - scraped)):
            read[reading.metric.name] = reading.rows
        requests = [Reading(metric, read.get(metric.name, [])) for metric in GATEWAY]
        return [*requests, *read_engines(gateway.cluster.engines())]


def _now(gateway: Gateway, in_flight: int) -> Iterator[Row]:
    yield METRICS["spillway_requests_in_flight"], (), in_flight
    yield METRICS["spillway_ready"], (), gateway.ready()
    yield METRICS["spillway_build_info"], (gateway.name, __version__, platform.python_version()), 1
    for caller in gateway.callers.every:
        for limit, most, _, used in limits_in(caller.used()):
            yield METRICS["spillway_key_limit"], (caller.name, limit), most
            yield METRICS["spillway_key_limit_used"], (caller.name, limit), used
        yield from budget_rows("key_budget", caller.name, caller.ledger)
