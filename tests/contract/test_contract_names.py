"""Every public name can be imported from where it is said to be, and takes its arguments in the forms that are written."""

import importlib
import inspect
import subprocess
import sys

import pytest

import spillway

FACADE = """
Cluster TokenStream Tokens TokenChunk FinishReason Priority Secret CostEstimate
Deployment Serving RateLimits RetryPolicy CircuitBreakerConfig Timeouts Budget Pricing HttpConfig
OpenAiConfig AnthropicConfig GeminiConfig LiteLlmConfig ExecuteBatch ModelRunner RunHandle InferenceError
RateLimited Backpressure BudgetExceeded QuotaExhausted CircuitOpen ServerError NetworkError Timeout ContentFiltered
ContextLengthExceeded BadRequest Unauthorized Forbidden StreamInterrupted ModelNotFound InvalidApiKey
""".split()

MODULES = {
    "backoff": ["BackoffPolicy", "compute_backoff"],
    "circuit_breaker": ["CircuitBreakerHandle", "CircuitBreakerActor", "CircuitState", "BreakerTicket"],
    "classify": ["classify_http_status", "parse_retry_after", "ProviderKind"],
    "engine": ["RemoteEngineCoreActor", "RemoteEngineConfig", "AddRequest", "EngineMsg", "EngineMetrics"],
    "http": ["HttpClient", "build_client"],
    "queue": ["Priority", "PriorityRequest", "RequestQueue"],
    "rate_limit": [
        "RateLimiterActor", "StrictRateLimiterActor", "RateLimiterHandle", "AcquirePermit", "Permit",
    ],
    "retry": ["RetryEngine", "Attempt", "RetryDecision", "Retry", "GIVE_UP"],
    "session": [
        "CredentialProvider", "StaticApiKey", "RemoteSessionActor", "SessionConfig", "SessionRebuildRequest",
        "SessionSnapshot",
    ],
    "sse": ["SseChunk", "decode_sse_stream", "SseDecoder"],
    "worker": ["RemoteWorkerActor", "WorkerMsg", "WorkerSlot"],
    "cost": ["CostEstimate", "CostLedger"],
}  # fmt: skip


@pytest.mark.parametrize("name", FACADE)
def test_the_facade_has(name):
    assert getattr(spillway, name) is not None
    assert name in spillway.__all__
    assert name in dir(spillway)


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in MODULES.items() for n in names])
def test_the_remote_core_has(module, name):
    here = getattr(importlib.import_module(f"spillway.remote.{module}"), name)
    remote = importlib.import_module("spillway.remote")
    assert getattr(remote, name) is here
    assert name in remote.__all__


def test_priority_is_one_class_everywhere():
    from spillway.remote import queue

    assert queue.Priority is spillway.Priority
    assert spillway.Priority.BACKGROUND < spillway.Priority.NORMAL < spillway.Priority.HIGH < spillway.Priority.CRITICAL


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError):
        _ = spillway.NoSuchThing
    with pytest.raises(ImportError):
        from spillway.remote import NoSuchThing  # noqa: F401


def test_every_public_name_says_what_it_is():
    undocumented = [
        n for n in spillway.__all__ if inspect.isclass(getattr(spillway, n)) and not getattr(spillway, n).__doc__
    ]
    assert undocumented == []


def test_importing_costs_no_network_library():
    code = "import spillway, sys; assert 'aiohttp' not in sys.modules and 'spillway.runtime.cluster' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=20)


@pytest.mark.parametrize(
    ("method", "keywords"),
    [
        (
            "generate",
            "max_tokens temperature top_p stop seed tools tool_choice response_format reasoning_effort extra priority "
            "timeout_s max_cost_usd fallback extra_headers",
        ),
        (
            "stream",
            "max_tokens temperature top_p stop seed tools tool_choice response_format reasoning_effort extra priority "
            "timeout_s max_cost_usd fallback extra_headers",
        ),
    ],
)
def test_the_keywords_of_a_request_are_in_the_signature(method, keywords):
    parameters = inspect.signature(getattr(spillway.Cluster, method)).parameters
    for keyword in keywords.split():
        assert parameters[keyword].kind is inspect.Parameter.KEYWORD_ONLY, keyword
    assert parameters["fallback"].default is True
