"""Providers that go on after the demonstration and can be broken one by one; the deployments and keys before them."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

import spillway
from spillway.demo import scene
from spillway.runtime.project import GatewayKey
from spillway.sim import Phase, Scenario, SimConfig

PROVIDERS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "gemini": "/v1beta"}
"""Each provider that can be broken, and what the paths of its requests begin with."""

KEYS = {"search": "demo-key-search", "support": "demo-key-support", "reports": "demo-key-reports"}

_NOW_AND_THEN = (
    Phase(fault="429-retry-after=1", p=0.004),
    Phase(fault="503", p=0.012),
    Phase(fault="reset-before-headers", p=0.006),
    Phase(fault="slow-drip", p=0.01),
    Phase(fault="reset-mid-stream", p=0.006),
)


def scenario(broken: Collection[str]) -> Scenario:
    """Return what the providers do wrong: a little, and the broken ones everything."""
    outages = tuple(Phase(fault="503", path=PROVIDERS[name]) for name in broken)
    return Scenario(phases=(*outages, *_NOW_AND_THEN))


def providers() -> SimConfig:
    """Return the providers, none of them broken."""
    return SimConfig(seed=scene.SEED, latency_s=0.22, chunk_delay_s=0.006, scenario=scenario(()))


def deployments(url: str) -> list[spillway.Deployment]:
    """Return the three deployments, with limits and budgets that the traffic comes near to."""
    return [
        msgspec.structs.replace(
            each,
            rate_limits=spillway.RateLimits(requests_per_minute=600, tokens_per_minute=90_000, concurrent_requests=64),
            budget=spillway.Budget(max_spend_per_hour_usd=2.0, max_spend_per_day_usd=20.0),
            circuit_breaker=spillway.CircuitBreakerConfig(
                failure_threshold=6, open_duration_s=5.0, max_open_duration_s=10.0
            ),
            timeouts=spillway.Timeouts(unary_timeout_s=8.0, first_byte_timeout_s=4.0, idle_timeout_s=4.0),
        )
        for each in scene.deployments(url)
    ]


def keys() -> list[tuple[GatewayKey, spillway.Secret]]:
    """Return three gateway keys of different means."""
    means = {
        "search": {"requests_per_minute": 900, "tokens_per_minute": 120_000, "max_spend_per_day_usd": 10.0},
        "support": {"requests_per_minute": 300, "max_spend_per_day_usd": 5.0, "max_priority": "high"},
        "reports": {
            "requests_per_minute": 60,
            "max_spend_per_day_usd": 0.5,
            "models": ("gemini-*", "gpt-*"),
            "max_priority": "background",
        },
    }
    return [
        (GatewayKey(name=name, key=spillway.Secret(text), **means[name]), spillway.Secret(text))  # type: ignore[arg-type] # of several types
        for name, text in KEYS.items()
    ]
