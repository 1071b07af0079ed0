"""The project file that `spillway init` writes: three deployments that work, and every option with its default."""

from __future__ import annotations

TEMPLATE = """\
# Spillway's project file. A line that begins with # and a key shows an option with its default, or an example where it
# has none; take the # away to set it. `spillway check` validates the file, and with --live it asks each deployment.
# Times are seconds (keys in _s), money is USD (keys in _usd). Relative paths start from this file's folder.
# A secret is { from_env = "NAME" }, { from_file = "path" }, { from_command = ["vault", "read", "..."] }, or, with a
# plugin installed, { from_plugin = "NAME" } and what the plugin is to be told.

#[cluster]
#name  = "spillway"
#store = "memory"                       # where limits, budgets and breakers are kept; or "redis://host:6379/0"
#sync_s      = 1.0                      # seconds between two syncs of limits that processes keep together
#allowance_s = 1.0                      # what one may let through between two, as seconds of the limit
#weight      = 1.0                      # of this process, where a limit is shared out
#keep_share_s = 15.0                    # how long a silent process's share of such a limit is kept free
#state = "spillway.db"                  # SQLite: spend and gateway keys outlive a restart of `serve`; "": none

#[gateway]
#bind = "127.0.0.1:8080"
#admin_key = { from_env = "SPILLWAY_ADMIN_KEY" }
#hosts = []                             # names it is asked under beside localhost; empty: any, on loopback no other
#[[gateway.keys]]                       # one for each caller
#name = "team-a"
#key  = { from_env = "TEAM_A_KEY" }
#max_spend_per_day_usd = 50.0
#requests_per_minute   = 600
#tokens_per_minute     = 200_000
#models       = ["gpt-4o-mini", "claude-*"]
#max_priority = "normal"                # background | normal | high | critical

# Any table of a deployment may stand under [defaults]; a deployment's own keys win.
[defaults.retry]
max_retries = 3

[[deployment]]
name     = "gpt-4o-mini"                # what callers ask for
model    = "gpt-4o-mini"                # what the provider is asked for
runtime  = "openai"                     # openai | anthropic | gemini | litellm; follows from the model when absent
fallback = ["claude-haiku"]             # names or groups that are asked, in order, when this one can't answer
#group            = "small"             # callers may ask for it too; it spreads over its members
#weight           = 1                   # share of the group
#replicas         = 1                   # independent worker pools
#idempotent       = true                # false: never retried
#fallback_on      = ["content_filtered"]    # codes that fall back beside the usual ones
#fallback_after_s = 1.0                 # a predicted wait beyond this goes to a healthy fallback at once
#limit_group      = ""                  # deployments that name the same one share limiter and breaker
#on_disconnect    = "cancel"            # cancel | drain: what a client that leaves does to the provider's stream
#unsupported      = "error"             # error | warn: refuse what the provider has not, or leave it out and tell
[deployment.runtime_config]
api_key  = { from_env = "OPENAI_API_KEY" }
#endpoint     = "https://api.openai.com/v1"
#organization = "org-..."
#project      = "proj-..."
#api          = "chat"                  # chat | responses: which of OpenAI's APIs gives the answers
#[deployment.http]
#proxy   = "http://proxy:3128"
#ca_file = "corp.pem"
#http2   = false
[deployment.rate_limits]                # without this table nothing is limited
requests_per_minute = 500
tokens_per_minute   = 200_000
#input_tokens_per_minute  = 150_000
#output_tokens_per_minute = 50_000
#concurrent_requests      = 200
#burst_s                  = 60.0        # in any span of so many seconds at most their share of the minute
#strict                   = false       # true: exact across all processes that share the store
#[deployment.retry]
#max_retries         = 3
#initial_backoff_s   = 1.0
#max_backoff_s       = 60.0
#backoff_multiplier  = 2.0
#jitter              = "full"           # none | equal | full
#respect_retry_after = true
#retry_unary_timeout = false            # a request that timed out after it was sent may have been billed
#retry_on            = ["rate_limited", "server_error", "network_error", "timeout"]
#[deployment.circuit_breaker]
#failure_threshold    = 10              # consecutive failures within window_s, or
#failure_ratio        = 0.5             # this share of at least minimum_calls within window_s
#minimum_calls        = 20
#window_s             = 30.0
#open_duration_s      = 30.0
#max_open_duration_s  = 300.0           # doubles on each failed probe, up to this
#half_open_max_probes = 1               # closes when all of them succeed
#slow_call_s          = 20.0            # off when absent: time to the first content
#slow_call_ratio      = 0.5
#[deployment.timeouts]
#connect_timeout_s    = 5.0
#unary_timeout_s      = 600.0           # the whole of a non-streamed answer
#first_byte_timeout_s = 300.0           # a stream's first content
#idle_timeout_s       = 120.0           # between bytes of a stream
#total_timeout_s      = 1800.0          # everything, waits and retries included
#[deployment.serving]
#max_concurrent        = 128            # workers in a pool
#queue_capacity        = 1024
#queue_timeout_s       = 120.0
#on_capacity_exhausted = "queue"        # queue | reject | fallback
#priority_aging_s      = 0.0            # a waiting request rises one class each so many seconds; 0: never
#[deployment.budget]                    # without this table nothing is capped; rolling 1 h, 24 h, 30 d
#max_spend_per_hour_usd  = 100.0
#max_spend_per_day_usd   = 1000.0
#max_spend_per_month_usd = 10_000.0
#on_exceeded             = "reject"     # reject | warn | throttle
#[deployment.pricing]                   # instead of the published prices, USD per million tokens
#input_per_mtok_usd          = 0.15
#output_per_mtok_usd         = 0.60
#cached_input_per_mtok_usd   = 0.075
#cache_write_per_mtok_usd    = 0.15
#cache_write_1h_per_mtok_usd = 0.30
#reasoning_per_mtok_usd      = 0.60

[[deployment]]
name  = "claude-haiku"
model = "claude-haiku-4-5"
[deployment.runtime_config]
api_key = { from_env = "ANTHROPIC_API_KEY" }
#endpoint           = "https://api.anthropic.com"
#anthropic_version  = "2026-10-21"
#beta               = []
#default_max_tokens = 4096              # of a request that names none

[[deployment]]
name  = "gemini-flash"
model = "gemini-2.5-flash"
[deployment.runtime_config]
api_key = { from_env = "GEMINI_API_KEY" }
#endpoint = "https://generativelanguage.googleapis.com"
#variant  = "ai_studio"                 # ai_studio | vertex, with project, region, credentials, quota_project
#safety   = []                          # [{ category = "HARM_CATEGORY_...", threshold = "BLOCK_..." }]
"""
