"""The project file: the documented example as a whole, and every way to get it wrong."""

import pytest

import spillway

EXAMPLE = """
[cluster]
name  = "production"
store = "memory"                    # "memory" | "redis://host:6379/0": where limits, budgets and breakers are shared
state = "spillway.db"               # SQLite, relative to this file

[gateway]
bind = "127.0.0.1:8080"
admin_key = { from_env = "SPILLWAY_ADMIN_KEY" }
[[gateway.keys]]                    # no key at all: open to loopback only, refused on any other bind
name = "team-a"
key  = { from_env = "TEAM_A_KEY" }
max_spend_per_day_usd = 50.0
requests_per_minute   = 600
tokens_per_minute     = 200_000
models       = ["gpt-4o-mini", "claude-*"]
max_priority = "normal"

[defaults.retry]                    # any table of a deployment may stand under [defaults]; a deployment's own keys win
max_retries = 3

[[deployment]]
name       = "gpt-4o-mini-eu"
group      = "gpt-4o-mini"
weight     = 1
model      = "gpt-4o-mini"          # what the provider is asked for; default: name
runtime    = "openai"               # openai | anthropic | gemini | litellm; inferred from model when absent
replicas   = 1                      # independent worker pools
idempotent = true                   # false: never retried
fallback   = ["claude-haiku"]
fallback_after_s = 1.0
limit_group      = ""
on_disconnect    = "cancel"
[deployment.runtime_config]         # the provider's own
endpoint     = "https://api.openai.com/v1"
api_key      = { from_env = "OPENAI_API_KEY" }
organization = "org-\u2026"
project      = "proj-\u2026"
[deployment.http]
proxy = "http://proxy:3128"
ca_file = "corp.pem"
http2 = false
[deployment.rate_limits]
requests_per_minute      = 10_000
tokens_per_minute        = 2_000_000
concurrent_requests      = 200
burst_s                  = 60.0
strict                   = false
[deployment.retry]
max_retries         = 3
initial_backoff_s   = 1.0
max_backoff_s       = 60.0
backoff_multiplier  = 2.0
jitter              = "full"
respect_retry_after = true
retry_unary_timeout = false
retry_on            = ["rate_limited", "server_error", "network_error", "timeout"]
[deployment.circuit_breaker]
failure_threshold    = 10
failure_ratio        = 0.5
minimum_calls        = 20
window_s             = 30.0
open_duration_s      = 30.0
max_open_duration_s  = 300.0
half_open_max_probes = 1
slow_call_s = 20.0
slow_call_ratio = 0.5
[deployment.timeouts]
connect_timeout_s    = 5.0
unary_timeout_s      = 600.0
first_byte_timeout_s = 300.0
idle_timeout_s       = 120.0
total_timeout_s      = 1800.0
[deployment.serving]
max_concurrent        = 128
queue_capacity        = 1024
queue_timeout_s       = 120.0
on_capacity_exhausted = "queue"
priority_aging_s      = 0.0
[deployment.budget]
max_spend_per_hour_usd = 100.0
max_spend_per_day_usd  = 1000.0
max_spend_per_month_usd = 10000.0
on_exceeded            = "reject"
[deployment.pricing]
input_per_mtok_usd        = 0.15
output_per_mtok_usd       = 0.60
cached_input_per_mtok_usd = 0.075
cache_write_per_mtok_usd = 0.1
cache_write_1h_per_mtok_usd = 0.2

[[deployment]]
name = "claude-haiku"
model = "claude-haiku-4-5"
[deployment.runtime_config]
endpoint = "https://api.anthropic.com"
api_key = [{ from_file = "key-a" }, { from_command = ["vault", "read", "key-b"] }, { from_env = "C" }]
anthropic_version = "2023-06-01"
beta = ["context-1m"]

[[deployment]]
name = "gemini-2.5-flash"
[deployment.runtime_config]
variant = "ai_studio"
api_key = { inline = "x" }
safety = [{ category = "HARM_CATEGORY_HARASSMENT", threshold = "BLOCK_NONE" }]

[[deployment]]
name = "vertex"
model = "gemini-2.5-pro"
[deployment.runtime_config]
variant = "vertex"
project = "p"
region = "europe-west1"
credentials = { from_file = "sa.json" }

[[deployment]]
name = "azure"
runtime = "openai"
[deployment.runtime_config]
variant = "azure"
resource = "r"
deployment = "d"
api_version = "2024-10-21"

[[deployment]]
name = "proxy"
runtime = "litellm"
[deployment.runtime_config]
endpoint = "http://127.0.0.1:4000/v1"
tags = ["a", "b"]
"""


def cluster(tmp_path, text):
    path = tmp_path / "spillway.toml"
    path.write_text(text)
    return spillway.Cluster.from_file(path)


def options_of(tmp_path, text):
    from spillway.runtime.config import load

    path = tmp_path / "spillway.toml"
    path.write_text(text)
    return {deployment.name: deployment for deployment in load(path).deployments}


def test_the_example_loads_as_a_whole(tmp_path):
    assert cluster(tmp_path, EXAMPLE).deployments() == [
        "gpt-4o-mini-eu", "claude-haiku", "gemini-2.5-flash", "vertex", "azure", "proxy",
    ]  # fmt: skip
    (tmp_path / "spillway.toml").write_text(EXAMPLE)
    spillway.Cluster.from_file(str(tmp_path / "spillway.toml"))


def test_the_file_and_python_say_the_same(tmp_path):
    found = options_of(tmp_path, EXAMPLE)
    assert found["gpt-4o-mini-eu"] == spillway.Deployment(
        name="gpt-4o-mini-eu",
        group="gpt-4o-mini",
        model="gpt-4o-mini",
        runtime="openai",
        fallback=["claude-haiku"],
        runtime_config=spillway.OpenAiConfig(
            endpoint="https://api.openai.com/v1",
            api_key={"from_env": "OPENAI_API_KEY"},
            organization="org-\u2026",
            project="proj-\u2026",
        ),
        http=spillway.HttpConfig(proxy="http://proxy:3128", ca_file=str(tmp_path / "corp.pem")),
        rate_limits=spillway.RateLimits(
            requests_per_minute=10_000, tokens_per_minute=2_000_000, concurrent_requests=200
        ),
        circuit_breaker=spillway.CircuitBreakerConfig(slow_call_s=20.0),
        budget=spillway.Budget(max_spend_per_hour_usd=100, max_spend_per_day_usd=1000, max_spend_per_month_usd=10_000),
        pricing=spillway.Pricing(
            input_per_mtok_usd=0.15,
            output_per_mtok_usd=0.60,
            cached_input_per_mtok_usd=0.075,
            cache_write_per_mtok_usd=0.1,
            cache_write_1h_per_mtok_usd=0.2,
        ),
    )
    assert [one.runtime for one in found.values()] == ["openai", "anthropic", "gemini", "gemini", "openai", "litellm"]
    assert len(found["claude-haiku"].runtime_config.api_key) == 3


def test_a_file_needs_nothing_but_a_deployment(tmp_path):
    (found,) = options_of(tmp_path, '[[deployment]]\nname = "gpt-4o-mini"\n').values()
    assert found == spillway.Deployment(name="gpt-4o-mini", runtime="openai")


def test_defaults_are_for_all_and_a_deployments_own_keys_win(tmp_path):
    found = options_of(
        tmp_path,
        """
[defaults.retry]
max_retries = 7
jitter = "none"
[defaults.rate_limits]
requests_per_minute = 60
[defaults.http]
http2 = false
[[deployment]]
name = "gpt-4o"
[deployment.retry]
max_retries = 1
[[deployment]]
name = "gpt-4o-mini"
""",
    )
    assert (found["gpt-4o"].retry.max_retries, found["gpt-4o"].retry.jitter) == (1, "none")
    assert (found["gpt-4o-mini"].retry.max_retries, found["gpt-4o-mini"].retry.jitter) == (7, "none")
    assert found["gpt-4o"].rate_limits.requests_per_minute == 60


GOOD = '[[deployment]]\nname = "gpt-4o-mini"\n'
WRONG = {
    "an unknown key": (GOOD + "[deployment.retry]\nmax_retrys = 3\n", ["spillway.toml", "4", "max_retrys", "max_retries"]),
    "an unknown table": ("[clutser]\nname = 'x'\n" + GOOD, ["clutser", "cluster"]),
    "a wrong type": (GOOD + '[deployment.retry]\nmax_retries = "three"\n', ["4", "max_retries"]),
    "a negative limit": (GOOD + "[deployment.rate_limits]\nrequests_per_minute = -5\n", ["4", "requests_per_minute"]),
    "a name twice": (GOOD + GOOD, ["4", "gpt-4o-mini"]),
    "a fallback to nothing": (GOOD + 'fallback = ["gpt-4o-mimi"]\n', ["3", "gpt-4o-mimi", "gpt-4o-mini"]),
    "a choice that is none": (GOOD + '[deployment.retry]\njitter = "ful"\n', ["4", "jitter", "full"]),
    "a secret as text": (GOOD + '[deployment.runtime_config]\napi_key = "sk-hunter2"\n', ["4", "api_key"]),
    "a secret with two sources": (
        GOOD + '[deployment.runtime_config]\napi_key = { from_env = "A", inline = "sk-hunter2" }\n', ["4"],
    ),
    "no toml": (GOOD + "x = = 1\n", ["3"]),
    "nothing": ("", ["deployment"]),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line_that_names_the_place_and_the_nearest_valid_thing(tmp_path, what):
    text, words = WRONG[what]
    with pytest.raises(ValueError) as caught:
        cluster(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in ["spillway.toml", *words]), message
    assert "hunter2" not in message
