"""Option structs: their keys and defaults, how they are made, and what they refuse."""

import inspect
import math

import pytest

import spillway

DEFAULTS = {
    "Deployment": {
        "weight": 1, "model": None, "runtime": None, "replicas": 1, "idempotent": True, "fallback": (),
        "fallback_after_s": 1.0, "limit_group": "", "on_disconnect": "cancel", "rate_limits": None, "budget": None,
        "pricing": None, "retry": spillway.RetryPolicy(), "circuit_breaker": spillway.CircuitBreakerConfig(),
        "timeouts": spillway.Timeouts(), "serving": spillway.Serving(), "http": spillway.HttpConfig(),
        "fallback_on": (),
    },
    "HttpConfig": {"proxy": None, "ca_file": None, "http2": False},
    "RateLimits": {
        "requests_per_minute": None, "tokens_per_minute": None, "input_tokens_per_minute": None,
        "output_tokens_per_minute": None, "concurrent_requests": None, "burst_s": 60.0, "strict": False,
    },
    "RetryPolicy": {
        "max_retries": 3, "initial_backoff_s": 1.0, "max_backoff_s": 60.0, "backoff_multiplier": 2.0, "jitter": "full",
        "respect_retry_after": True, "retry_unary_timeout": False,
        "retry_on": ("rate_limited", "server_error", "network_error", "timeout"),
    },
    "CircuitBreakerConfig": {
        "failure_threshold": 10, "failure_ratio": 0.5, "minimum_calls": 20, "window_s": 30.0, "open_duration_s": 30.0,
        "max_open_duration_s": 300.0, "half_open_max_probes": 1, "slow_call_s": None,
    },
    "Timeouts": {
        "connect_timeout_s": 5.0, "unary_timeout_s": 600.0, "first_byte_timeout_s": 300.0, "idle_timeout_s": 120.0,
        "total_timeout_s": 1800.0,
    },
    "Serving": {
        "max_concurrent": 128, "queue_capacity": 1024, "queue_timeout_s": 120.0, "on_capacity_exhausted": "queue",
        "priority_aging_s": 0.0,
    },
    "Budget": {
        "max_spend_per_hour_usd": None, "max_spend_per_day_usd": None, "max_spend_per_month_usd": None,
        "on_exceeded": "reject",
    },
    "Pricing": dict.fromkeys((
        "input_per_mtok_usd", "output_per_mtok_usd", "cached_input_per_mtok_usd", "cache_write_per_mtok_usd",
        "cache_write_1h_per_mtok_usd",
    )),
    "OpenAiConfig": {"api_key": None, "organization": None, "project": None},
    "AnthropicConfig": {"api_key": None, "beta": ()},
    "GeminiConfig": {"api_key": None, "variant": "ai_studio", "project": None, "region": None, "credentials": None, "safety": ()},
    "LiteLlmConfig": {"api_key": None, "tags": ()},
}  # fmt: skip
NEEDED = {"Deployment": {"name": "m"}}


def made(name, **options):
    return getattr(spillway, name)(**NEEDED.get(name, {}), **options)


@pytest.mark.parametrize("name", DEFAULTS)
def test_keys_and_defaults(name):
    options = made(name)
    assert {key: getattr(options, key) for key in DEFAULTS[name]} == DEFAULTS[name]


@pytest.mark.parametrize("name", DEFAULTS)
def test_keyword_only_frozen_equal_by_value_and_strict_about_keys(name):
    kind = getattr(spillway, name)
    with pytest.raises(TypeError):
        kind("m")
    with pytest.raises(TypeError):
        made(name, no_such_option=1)
    options = made(name)
    for key in DEFAULTS[name]:
        with pytest.raises(AttributeError):
            setattr(options, key, DEFAULTS[name][key])
    assert options == made(name)
    assert hash(options) == hash(made(name))
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(kind).parameters.values())


def test_a_deployment_needs_its_name():
    with pytest.raises(TypeError):
        spillway.Deployment()


REFUSED = [
    ("Deployment", {"weight": 0}),
    ("Deployment", {"weight": 1.5}),
    ("Deployment", {"weight": "1"}),
    ("Deployment", {"replicas": 0}),
    ("Deployment", {"idempotent": "no"}),
    ("Deployment", {"fallback": "other"}),
    ("Deployment", {"fallback": [1]}),
    ("Deployment", {"fallback_on": ["no_such_code"]}),
    ("Deployment", {"fallback_after_s": -1}),
    ("Deployment", {"on_disconnect": "ignore"}),
    ("Deployment", {"retry": {"max_retries": 1}}),
    ("Deployment", {"retry": spillway.Timeouts()}),
    ("Deployment", {"retry": None}),
    ("Deployment", {"runtime": 1}),
    ("Deployment", {"runtime_config": {"endpoint": "http://127.0.0.1/v1"}}),
    ("Deployment", {"runtime": "openai", "runtime_config": spillway.AnthropicConfig()}),
    ("HttpConfig", {"proxy": 1}),
    ("HttpConfig", {"proxy": "socks5://127.0.0.1:1"}),
    ("HttpConfig", {"http2": "yes"}),
    ("RateLimits", {"requests_per_minute": -1}),
    ("RateLimits", {"requests_per_minute": 0}),
    ("RateLimits", {"requests_per_minute": "60"}),
    ("RateLimits", {"requests_per_minute": 1.5}),
    ("RateLimits", {"tokens_per_minute": -1}),
    ("RateLimits", {"concurrent_requests": 0}),
    ("RateLimits", {"burst_s": 0}),
    ("RateLimits", {"burst_s": 61}),
    ("RateLimits", {"strict": 1}),
    ("RetryPolicy", {"max_retries": -1}),
    ("RetryPolicy", {"max_retries": 1.5}),
    ("RetryPolicy", {"max_retries": "3"}),
    ("RetryPolicy", {"max_retries": True}),
    ("RetryPolicy", {"max_retries": None}),
    ("RetryPolicy", {"initial_backoff_s": -1}),
    ("RetryPolicy", {"max_backoff_s": math.inf}),
    ("RetryPolicy", {"backoff_multiplier": 0.5}),
    ("RetryPolicy", {"jitter": "some"}),
    ("RetryPolicy", {"jitter": True}),
    ("RetryPolicy", {"respect_retry_after": "yes"}),
    ("RetryPolicy", {"retry_on": "timeout"}),
    ("RetryPolicy", {"retry_on": ["no_such_code"]}),
    ("RetryPolicy", {"retry_on": ["bad_request"]}),
    ("CircuitBreakerConfig", {"failure_threshold": 0}),
    ("CircuitBreakerConfig", {"failure_ratio": 0}),
    ("CircuitBreakerConfig", {"failure_ratio": 1.1}),
    ("CircuitBreakerConfig", {"minimum_calls": 0}),
    ("CircuitBreakerConfig", {"window_s": math.nan}),
    ("CircuitBreakerConfig", {"open_duration_s": 0}),
    ("CircuitBreakerConfig", {"half_open_max_probes": 0}),
    ("CircuitBreakerConfig", {"slow_call_s": -1}),
    ("Timeouts", {"connect_timeout_s": 0}),
    ("Timeouts", {"connect_timeout_s": None}),
    ("Timeouts", {"total_timeout_s": math.inf}),
    ("Timeouts", {"idle_timeout_s": "1"}),
    ("Serving", {"max_concurrent": 0}),
    ("Serving", {"queue_capacity": 0}),
    ("Serving", {"queue_timeout_s": 0}),
    ("Serving", {"on_capacity_exhausted": "wait"}),
    ("Serving", {"priority_aging_s": -1}),
    ("Budget", {"max_spend_per_hour_usd": -1}),
    ("Budget", {"max_spend_per_day_usd": math.nan}),
    ("Budget", {"max_spend_per_month_usd": "10"}),
    ("Budget", {"on_exceeded": "stop"}),
    ("Pricing", {"input_per_mtok_usd": -1}),
    ("Pricing", {"output_per_mtok_usd": math.inf}),
    ("OpenAiConfig", {"endpoint": "127.0.0.1:9100"}),
    ("OpenAiConfig", {"endpoint": 9100}),
    ("OpenAiConfig", {"api_key": 5}),
    ("OpenAiConfig", {"api_key": ""}),
    ("OpenAiConfig", {"api_key": []}),
    ("OpenAiConfig", {"api_key": {"from_envv": "KEY"}}),
    ("OpenAiConfig", {"api_key": {"from_env": "KEY", "from_file": "key"}}),
    ("OpenAiConfig", {"api_key": {}}),
    ("OpenAiConfig", {"variant": "other"}),
    ("OpenAiConfig", {"variant": "azure"}),
    ("AnthropicConfig", {"beta": "context-1m"}),
    ("GeminiConfig", {"variant": "other"}),
    ("GeminiConfig", {"safety": "none"}),
    ("LiteLlmConfig", {"tags": "one"}),
]


@pytest.mark.parametrize(("name", "options"), REFUSED)
def test_what_makes_no_sense_is_refused_at_construction_in_one_line_with_the_key(name, options):
    with pytest.raises(ValueError) as caught:
        made(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert any(key in message for key in options), message


@pytest.mark.parametrize("name", ["", " ", 5, None])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ValueError):
        spillway.Deployment(name=name)


TAKEN = [
    ("Deployment", {"fallback": ["a", "b"]}, {"fallback": ("a", "b")}),
    ("Deployment", {"fallback_on": ["content_filtered"]}, {"fallback_on": ("content_filtered",)}),
    ("Deployment", {"fallback_after_s": 2}, {"fallback_after_s": 2.0}),
    ("RetryPolicy", {"retry_on": ["timeout"]}, {"retry_on": ("timeout",)}),
    ("RetryPolicy", {"retry_on": ()}, {"retry_on": ()}),
    ("RetryPolicy", {"max_retries": 0, "initial_backoff_s": 0}, {"max_retries": 0, "initial_backoff_s": 0.0}),
    ("RateLimits", {"burst_s": 10}, {"burst_s": 10.0}),
    ("Timeouts", {"connect_timeout_s": 1}, {"connect_timeout_s": 1.0}),
    ("Budget", {"max_spend_per_day_usd": 0}, {"max_spend_per_day_usd": 0.0}),
    ("AnthropicConfig", {"beta": ["a"]}, {"beta": ("a",)}),
    ("LiteLlmConfig", {"tags": ["a"]}, {"tags": ("a",)}),
    ("CircuitBreakerConfig", {"slow_call_s": 20.0, "slow_call_ratio": 0.5}, {"slow_call_s": 20.0}),
]


@pytest.mark.parametrize(("name", "options", "found"), TAKEN)
def test_lists_and_whole_numbers_are_taken_too(name, options, found):
    struct = made(name, **options)
    assert {key: getattr(struct, key) for key in found} == found
    hash(struct)


@pytest.mark.parametrize(
    "key",
    [
        spillway.Secret("sk-hunter2"),
        "sk-hunter2",
        {"inline": "sk-hunter2"},
        {"from_env": "MY_KEY"},
        {"from_file": "/run/secrets/key"},
        {"from_command": ["vault", "read", "key"]},
        [spillway.Secret("sk-hunter2"), {"from_env": "MY_KEY"}],
    ],
)
def test_a_secret_may_be_written_in_every_form_and_shows_in_none(key):
    for kind in (spillway.OpenAiConfig, spillway.AnthropicConfig, spillway.GeminiConfig, spillway.LiteLlmConfig):
        config = kind(api_key=key)
        assert "hunter2" not in repr(config)
        assert "hunter2" not in repr(spillway.Deployment(name="m", runtime_config=config))
        hash(config)


def test_no_refusal_shows_a_secret():
    for key in (["sk-hunter2", 5], {"inline": "sk-hunter2", "from_env": "X"}, {"sk-hunter2-key": 1} and {"inline": 5}):
        with pytest.raises(ValueError) as caught:
            spillway.OpenAiConfig(api_key=key)
        assert "hunter2" not in str(caught.value)


def test_a_secret_has_no_readable_form():
    import copy
    import json
    import pickle

    secret = spillway.Secret("sk-hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {secret!s} {secret:>40}"
    assert not hasattr(secret, "__dict__")
    for leak in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError):
            leak(secret)
    assert copy.deepcopy(secret) == secret == spillway.Secret("sk-hunter2")
    assert secret != spillway.Secret("other")
    assert secret != "sk-hunter2"


def test_the_variants_of_runtime_config():
    spillway.OpenAiConfig(variant="azure", resource="r", deployment="d", api_version="2024-10-21")
    spillway.OpenAiConfig(variant="azure", endpoint="http://127.0.0.1:1", deployment="d", api_version="2024-10-21")
    spillway.GeminiConfig(variant="vertex", project="p", region="eu", credentials={"from_file": "sa.json"})
    config = spillway.GeminiConfig(safety=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}])
    assert (config.safety[0].category, config.safety[0].threshold) == ("HARM_CATEGORY_HARASSMENT", "BLOCK_NONE")
    spillway.AnthropicConfig(anthropic_version="2023-06-01", beta=["a"])


def test_every_error_code_may_stand_in_fallback_on():
    codes = [kind.code for kind in spillway.InferenceError.__subclasses__()]
    assert made("Deployment", fallback_on=codes).fallback_on == tuple(codes)


def test_a_cluster_refuses_what_does_not_go_together():
    one = spillway.Deployment(name="gpt-4o", group="g")
    for wrong in (
        [],
        [one, one],
        [spillway.Deployment(name="gpt-4o", fallback=["nobody"])],
        [one, spillway.Deployment(name="g", runtime="openai")],
        [
            spillway.Deployment(name="gpt-4o", limit_group="l"),
            spillway.Deployment(name="gpt-5", limit_group="l", rate_limits=spillway.RateLimits(requests_per_minute=1)),
        ],
    ):
        with pytest.raises(ValueError) as caught:
            spillway.Cluster(wrong)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError):
        spillway.Cluster([one], runners={"nobody": lambda _: None})
    with pytest.raises(TypeError):
        spillway.Cluster([one], colour="red")
    with pytest.raises(TypeError):
        spillway.Cluster(one)
    with pytest.raises(TypeError):
        spillway.Cluster(["gpt-4o"])
