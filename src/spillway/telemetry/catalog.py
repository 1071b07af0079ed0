"""Every metric there is: its name, kind, labels and meaning. No other may be told."""

from __future__ import annotations

from typing import Literal

import msgspec

_STEPS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)

SHORT = _STEPS[:13]
"""Bucket edges in seconds of what is over in an instant."""

GAPS = _STEPS[3:16]
"""Bucket edges in seconds of the time between two pieces of a stream."""

LONG = (*_STEPS[6:], 200.0, 500.0)
"""Bucket edges in seconds of whole answers and of waits."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        name: as it stands in the exposition; a counter's ends in `_total`.
        labels: names of its labels, in the order of every row's values.
        edges: of a histogram's buckets, in seconds; they are among the engine's own `EDGES`.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    edges: tuple[float, ...] = ()


def _counter(name: str, *labels: str, says: str) -> Metric:
    return Metric(name=name, kind="counter", labels=labels, help=says)


def _gauge(name: str, *labels: str, says: str) -> Metric:
    return Metric(name=name, kind="gauge", labels=labels, help=says)


def _histogram(name: str, *labels: str, edges: tuple[float, ...], says: str) -> Metric:
    return Metric(name=name, kind="histogram", labels=labels, help=says, edges=edges)


ENGINES = (
    _counter(
        "spillway_deployment_requests_total",
        "deployment",
        "outcome",
        says="Requests that ended at a deployment: ok, failed or cancelled.",
    ),
    _counter(
        "spillway_deployment_refusals_total",
        "deployment",
        says="Times a deployment said no and sent nothing.",
    ),
    _counter(
        "spillway_attempts_total",
        "deployment",
        "outcome",
        says="Attempts that were sent: ok, cancelled, or the code of their error.",
    ),
    _counter("spillway_retries_total", "deployment", says="Repetitions of failed attempts that were granted."),
    _counter(
        "spillway_fallbacks_total",
        "deployment",
        says="Requests that ended at this deployment although another was asked.",
    ),
    _histogram(
        "spillway_attempt_duration_seconds",
        "deployment",
        edges=LONG,
        says="From the send of an attempt that succeeded to the end of its answer.",
    ),
    _histogram(
        "spillway_attempt_first_content_seconds",
        "deployment",
        edges=LONG,
        says="From the send of an attempt that succeeded to its first content.",
    ),
    _histogram(
        "spillway_output_gap_seconds",
        "deployment",
        edges=GAPS,
        says="Inter-token latency: between two network reads that brought content of a stream.",
    ),
    _histogram(
        "spillway_queue_wait_seconds",
        "deployment",
        edges=LONG,
        says="Waits for a slot, a permit, money or a retry's turn; what is sent at once does not count.",
    ),
    _gauge("spillway_queue_depth", "deployment", says="Requests that wait now."),
    _gauge("spillway_queue_capacity", "deployment", says="Requests that may wait."),
    _gauge("spillway_workers", "deployment", says="Workers in service."),
    _gauge("spillway_workers_busy", "deployment", says="Workers that have a request now."),
    _gauge("spillway_deployment_healthy", "deployment", says="1 when a request sent now would be let through."),
    _counter(
        "spillway_tokens_total",
        "deployment",
        "kind",
        says="Tokens of all attempts, or an estimate: input, output; of the input cached and cache_write; "
        "of the output reasoning.",
    ),
    _counter("spillway_cost_usd_total", "deployment", says="Cost of all attempts; 0 where the price is unknown."),
    _gauge("spillway_breaker_state", "deployment", "entry", "state", says="1 for the state the circuit is in, else 0."),
    _gauge(
        "spillway_breaker_shared",
        "deployment",
        "entry",
        says="1 while the circuit is that of all processes that share a store.",
    ),
    _counter("spillway_breaker_transitions_total", "deployment", "entry", "state", says="Times a state was entered."),
    _gauge(
        "spillway_limit",
        "deployment",
        "entry",
        "limit",
        says="Configured limits a minute: requests, tokens, input_tokens, output_tokens; and concurrency.",
    ),
    _gauge("spillway_limit_ceiling", "deployment", "entry", "limit", says="What of the limit is used at most now."),
    _gauge("spillway_limit_used", "deployment", "entry", "limit", says="What of the limit is taken now."),
    _gauge("spillway_limit_blocked_seconds", "deployment", "entry", says="What is left of the provider's pause."),
    _gauge(
        "spillway_limiter_mode",
        "deployment",
        "mode",
        says="1 for how the limits are held, else 0: local, strict, approximate, share, closed, joining.",
    ),
    _gauge("spillway_limiter_nodes", "deployment", "entry", says="Processes that hold the limits together."),
    _counter(
        "spillway_limiter_rejected_total",
        "deployment",
        "entry",
        says="What other processes told of a limit and could not be true.",
    ),
    _gauge("spillway_budget_usd", "deployment", "window", says="Cap of the last hour, day or month."),
    _gauge("spillway_budget_spent_usd", "deployment", "window", says="Spent in the window."),
    _gauge("spillway_budget_left_usd", "deployment", "window", says="Neither spent nor reserved; never below 0."),
    _gauge("spillway_budget_reserved_usd", "deployment", says="Reserved for what is on its way."),
    _gauge("spillway_budget_elsewhere_usd", "deployment", says="Held by other processes that share the budget."),
    _gauge(
        "spillway_budget_mode",
        "deployment",
        "mode",
        says="1 for how the budget is held, else 0: local, shared, store_lost.",
    ),
)
"""Of a Cluster, by deployment. `entry` is the position in a key pool, from 1."""

GATEWAY = (
    _counter(
        "spillway_requests_total",
        "door",
        "model",
        "deployment",
        "outcome",
        says="Requests of callers: ok, cancelled, or the code of the error.",
    ),
    _histogram(
        "spillway_request_duration_seconds",
        "door",
        "model",
        edges=LONG,
        says="From a request's head to the end of its answer.",
    ),
    _histogram(
        "spillway_first_content_seconds",
        "door",
        "model",
        edges=LONG,
        says="From a request's head to the first content of its stream.",
    ),
    _histogram(
        "spillway_overhead_seconds",
        "door",
        edges=SHORT,
        says="What the gateway itself adds: neither queue nor provider nor a slow caller.",
    ),
    _counter(
        "spillway_refusals_total", "door", "limited_by", says="Requests that were refused, by whose limit it was."
    ),
    _counter("spillway_disconnects_total", "door", says="Callers who left before the end of their answer."),
    _gauge("spillway_requests_in_flight", says="Requests that have begun and not ended, but for the scrape."),
    _gauge("spillway_ready", says="1 when /readyz says so."),
    _counter("spillway_key_requests_total", "key", says="Requests by gateway key."),
    _counter(
        "spillway_key_tokens_total",
        "key",
        "kind",
        says="Tokens by gateway key, of the same kinds as spillway_tokens_total.",
    ),
    _counter("spillway_key_cost_usd_total", "key", says="Cost by gateway key."),
    _gauge("spillway_key_limit", "key", "limit", says="A gateway key's limits a minute: requests, tokens."),
    _gauge("spillway_key_limit_used", "key", "limit", says="What of them is taken now."),
    _gauge("spillway_key_budget_usd", "key", "window", says="A gateway key's cap."),
    _gauge("spillway_key_budget_spent_usd", "key", "window", says="Spent in the window."),
    _gauge("spillway_key_budget_left_usd", "key", "window", says="Neither spent nor reserved; never below 0."),
    _gauge(
        "spillway_key_budget_mode",
        "key",
        "mode",
        says="1 for how a gateway key's budget is held, else 0: local, shared, store_lost.",
    ),
    _gauge("spillway_build_info", "cluster", "version", "python", says="1; the labels say what runs."),
)
"""Of a gateway. `key` is a name, never the key."""

METRICS = {metric.name: metric for metric in (*ENGINES, *GATEWAY)}
"""All of them by name."""
