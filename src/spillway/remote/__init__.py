"""The remote core: one policy a module, each a pure machine in a thin shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.lazy import exporter

if TYPE_CHECKING:
    from spillway.core.priority import Priority
    from spillway.remote.backoff import BackoffPolicy, compute_backoff
    from spillway.remote.circuit_breaker import BreakerTicket, CircuitBreakerActor, CircuitBreakerHandle, CircuitState
    from spillway.remote.classify import ProviderKind, classify_http_status, parse_retry_after
    from spillway.remote.cost import CostEstimate, CostLedger
    from spillway.remote.engine import (
        AddRequest,
        EngineMetrics,
        EngineMsg,
        RemoteEngineConfig,
        RemoteEngineCoreActor,
    )
    from spillway.remote.http import HttpClient, build_client
    from spillway.remote.queue import PriorityRequest, RequestQueue
    from spillway.remote.rate_limit import (
        AcquirePermit,
        Permit,
        RateLimiterActor,
        RateLimiterHandle,
        StrictRateLimiterActor,
    )
    from spillway.remote.retry import GIVE_UP, Attempt, Retry, RetryDecision, RetryEngine
    from spillway.remote.session import (
        CredentialProvider,
        RemoteSessionActor,
        SessionConfig,
        SessionRebuildRequest,
        SessionSnapshot,
        StaticApiKey,
    )
    from spillway.remote.sse import SseChunk, SseDecoder, decode_sse_stream
    from spillway.remote.worker import RemoteWorkerActor, WorkerMsg, WorkerSlot

__all__ = [
    # backoff
    "BackoffPolicy",
    "compute_backoff",
    # circuit breaker
    "BreakerTicket",
    "CircuitBreakerActor",
    "CircuitBreakerHandle",
    "CircuitState",
    # classify
    "ProviderKind",
    "classify_http_status",
    "parse_retry_after",
    # cost
    "CostEstimate",
    "CostLedger",
    # engine
    "AddRequest",
    "EngineMetrics",
    "EngineMsg",
    "RemoteEngineConfig",
    "RemoteEngineCoreActor",
    # http
    "HttpClient",
    "build_client",
    # queue
    "Priority",
    "PriorityRequest",
    "RequestQueue",
    # rate limit
    "AcquirePermit",
    "Permit",
    "RateLimiterActor",
    "RateLimiterHandle",
    "StrictRateLimiterActor",
    # retry
    "GIVE_UP",
    "Attempt",
    "Retry",
    "RetryDecision",
    "RetryEngine",
    # session
    "CredentialProvider",
    "RemoteSessionActor",
    "SessionConfig",
    "SessionRebuildRequest",
    "SessionSnapshot",
    "StaticApiKey",
    # sse
    "SseChunk",
    "SseDecoder",
    "decode_sse_stream",
    # worker
    "RemoteWorkerActor",
    "WorkerMsg",
    "WorkerSlot",
]

__getattr__ = exporter(
    __name__,
    {
        "spillway.core.priority": ("Priority",),
        "spillway.remote.backoff": ("BackoffPolicy", "compute_backoff"),
        "spillway.remote.circuit_breaker": (
            "BreakerTicket",
            "CircuitBreakerActor",
            "CircuitBreakerHandle",
            "CircuitState",
        ),
        "spillway.remote.classify": ("ProviderKind", "classify_http_status", "parse_retry_after"),
        "spillway.remote.cost": ("CostEstimate", "CostLedger"),
        "spillway.remote.engine": (
            "AddRequest",
            "EngineMetrics",
            "EngineMsg",
            "RemoteEngineConfig",
            "RemoteEngineCoreActor",
        ),
        "spillway.remote.http": ("HttpClient", "build_client"),
        "spillway.remote.queue": ("PriorityRequest", "RequestQueue"),
        "spillway.remote.rate_limit": (
            "AcquirePermit",
            "Permit",
            "RateLimiterActor",
            "RateLimiterHandle",
            "StrictRateLimiterActor",
        ),
        "spillway.remote.retry": ("GIVE_UP", "Attempt", "Retry", "RetryDecision", "RetryEngine"),
        "spillway.remote.session": (
            "CredentialProvider",
            "RemoteSessionActor",
            "SessionConfig",
            "SessionRebuildRequest",
            "SessionSnapshot",
            "StaticApiKey",
        ),
        "spillway.remote.sse": ("SseChunk", "SseDecoder", "decode_sse_stream"),
        "spillway.remote.worker": ("RemoteWorkerActor", "WorkerMsg", "WorkerSlot"),
    },
)
