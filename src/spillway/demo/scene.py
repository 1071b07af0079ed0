"""What both clients of the demonstration meet: the prompts, the providers, and how those misbehave."""

from __future__ import annotations

import msgspec

import spillway
from spillway.sim import LimitSpec, Phase, Scenario, SimConfig

PROMPTS = 300
SEED = 20
BUDGET_USD = 0.06
MAX_TOKENS = 100

_RPM = 1440
_OUR_RPM = 840
"""Below what the providers count in each second: they count at arrival, and the way there shifts what was sent."""

_WINDOW_S = 1.0
_OUTAGE_FROM_S, _OUTAGE_TO_S = 3.0, 8.0


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt, the deployment it is for, and whether its answer is streamed."""

    number: int
    deployment: str
    text: str
    stream: bool


NAMES = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash")
KEYS = {"gpt-4o-mini": "sim-openai", "claude-haiku-4-5": "sim-anthropic", "gemini-2.5-flash": "sim-gemini"}


def asks() -> list[Ask]:
    """Return the prompts: a third for each deployment, every other one streamed."""
    return [
        Ask(
            number=n,
            deployment=NAMES[n % 3],
            text=f"Prompt {n:03}: describe this place in {20 + n * 7 % 50} words",
            stream=(n // 3) % 2 == 0,
        )
        for n in range(PROMPTS)
    ]


def quiet() -> SimConfig:
    """Return providers that do nothing wrong, for the answers that are right."""
    return SimConfig(seed=SEED)


def misbehaving() -> SimConfig:
    """Return the providers of the demonstration: limits they enforce, faults now and then, one outage."""
    now_and_then = [
        Phase(fault="429-retry-after=1", p=0.03),
        Phase(fault="503", p=0.04),
        Phase(fault="reset-before-headers", p=0.02),
        Phase(fault="stall-before-headers", p=0.015),
        Phase(fault="truncated-stream", p=0.06),
        Phase(fault="reset-mid-stream", p=0.03),
    ]
    outage = Phase(fault="503", from_s=_OUTAGE_FROM_S, to_s=_OUTAGE_TO_S, path="/v1/chat/completions", p=1.0)
    return SimConfig(
        seed=SEED,
        latency_s=0.15,
        chunk_delay_s=0.004,
        limits=tuple(LimitSpec(key=key, requests_per_minute=_RPM, window_s=_WINDOW_S) for key in KEYS.values()),
        scenario=Scenario(phases=(outage, *now_and_then)),
    )


def deployments(url: str) -> list[spillway.Deployment]:
    """Return the three deployments, each the other two's fallback."""
    configs: dict[str, spillway.OpenAiConfig | spillway.AnthropicConfig | spillway.GeminiConfig] = {
        "gpt-4o-mini": spillway.OpenAiConfig(endpoint=f"{url}/v1", api_key=spillway.Secret(KEYS["gpt-4o-mini"])),
        "claude-haiku-4-5": spillway.AnthropicConfig(endpoint=url, api_key=spillway.Secret(KEYS["claude-haiku-4-5"])),
        "gemini-2.5-flash": spillway.GeminiConfig(endpoint=url, api_key=spillway.Secret(KEYS["gemini-2.5-flash"])),
    }
    prices = {"gpt-4o-mini": (0.15, 0.6), "claude-haiku-4-5": (1.0, 5.0), "gemini-2.5-flash": (0.3, 2.5)}
    return [
        spillway.Deployment(
            name=name,
            runtime_config=config,
            fallback=tuple(other for other in NAMES if other != name),
            rate_limits=spillway.RateLimits(requests_per_minute=_OUR_RPM, burst_s=_WINDOW_S),
            retry=spillway.RetryPolicy(initial_backoff_s=0.2, max_backoff_s=2.0, retry_unary_timeout=True),
            circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=6, open_duration_s=1.5),
            timeouts=spillway.Timeouts(unary_timeout_s=4.0, first_byte_timeout_s=2.0, idle_timeout_s=2.0),
            pricing=spillway.Pricing(input_per_mtok_usd=prices[name][0], output_per_mtok_usd=prices[name][1]),
        )
        for name, config in configs.items()
    ]
