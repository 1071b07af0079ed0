"""Every option of a deployment: frozen, keyword-only, checked at construction, named as in the project file."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from spillway.core.doubts import doubts_of
from spillway.core.fitting import fit
from spillway.core.masked import Masked
from spillway.core.model_facts import ModelFacts
from spillway.core.secrets import SecretLike

Jitter = Literal["none", "equal", "full"]
OnCapacityExhausted = Literal["queue", "reject", "fallback"]
OnExceeded = Literal["reject", "warn", "throttle"]
OnDisconnect = Literal["cancel", "drain"]
Unsupported = Literal["error", "warn"]
RetryOn = Literal["rate_limited", "server_error", "network_error", "timeout"]
ErrorCode = Literal[
    "rate_limited",
    "backpressure",
    "budget_exceeded",
    "quota_exhausted",
    "circuit_open",
    "server_error",
    "network_error",
    "timeout",
    "content_filtered",
    "context_length_exceeded",
    "bad_request",
    "unauthorized_upstream",
    "forbidden_upstream",
    "stream_interrupted",
    "model_not_found",
    "invalid_api_key",
]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of options, held to the types of its fields; an error message begins with the field's name."""

    def __post_init__(self) -> None:
        fit(self)

    def _at_least(self, low: float, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not low <= value < math.inf:
                raise ValueError(f"{name} must be a number >= {low:g}, not {value!r}")

    def _positive(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number > 0, not {value!r}")


class HttpConfig(Options, frozen=True, kw_only=True):
    """How connections are made.

    Attributes:
        proxy: URL of an HTTP proxy; none is taken from the environment. With a password in it, it is in no `repr`.
        ca_file: PEM file of certificate authorities to trust instead of the system's.
        http2: speak HTTP/2 (extra `http2`).
    """

    proxy: str | None = None
    ca_file: str | None = None
    http2: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.proxy is not None and not self.proxy.startswith(("http://", "https://")):
            raise ValueError("proxy must begin with http:// or https://")
        if self.proxy is not None and "@" in self.proxy:
            msgspec.structs.force_setattr(self, "proxy", Masked(self.proxy))


class RateLimits(Options, frozen=True, kw_only=True):
    """What may be sent; a limit that is None does not apply.

    Attributes:
        burst_s: in any span of this many seconds at most that share of the minute's limit.
        strict: exact across all processes that share the store.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    burst_s: float = 60.0
    strict: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(
            1,
            "requests_per_minute",
            "tokens_per_minute",
            "input_tokens_per_minute",
            "output_tokens_per_minute",
            "concurrent_requests",
        )
        self._positive("burst_s")
        if self.burst_s > 60.0:
            raise ValueError(f"burst_s must be at most 60, not {self.burst_s!r}")


class RetryPolicy(Options, frozen=True, kw_only=True):
    """When and how an attempt is repeated.

    Attributes:
        max_retries: attempts after the first; where nobody says, 1 at a LiteLLM proxy, which repeats by itself too.
        jitter: `none`, `equal` or `full`.
        retry_unary_timeout: repeat a unary request that timed out after it was sent (it may have been billed).
        retry_on: codes of the errors that are repeated.
    """

    max_retries: int = 3
    initial_backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    backoff_multiplier: float = 2.0
    jitter: Jitter = "full"
    respect_retry_after: bool = True
    retry_unary_timeout: bool = False
    retry_on: tuple[RetryOn, ...] = ("rate_limited", "server_error", "network_error", "timeout")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(0, "max_retries", "initial_backoff_s", "max_backoff_s")
        self._at_least(1, "backoff_multiplier")


class CircuitBreakerConfig(Options, frozen=True, kw_only=True):
    """When a circuit opens and how it closes again.

    Attributes:
        failure_threshold: consecutive failures within `window_s` that open it, or
        failure_ratio: this share of at least `minimum_calls` within `window_s`.
        open_duration_s: how long it stays open the first time; doubles with each failed probe.
        half_open_max_probes: calls let through to find out; all must succeed.
        slow_call_s: time to the first content from which a call is slow; None: not looked at.
        slow_call_ratio: share of slow calls that opens it.
    """

    failure_threshold: int = 10
    failure_ratio: float = 0.5
    minimum_calls: int = 20
    window_s: float = 30.0
    open_duration_s: float = 30.0
    max_open_duration_s: float = 300.0
    half_open_max_probes: int = 1
    slow_call_s: float | None = None
    slow_call_ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "failure_threshold", "minimum_calls", "half_open_max_probes")
        self._positive("window_s", "open_duration_s", "max_open_duration_s", "slow_call_s")
        for name in ("failure_ratio", "slow_call_ratio"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in (0, 1], not {getattr(self, name)!r}")
        if self.max_open_duration_s < self.open_duration_s:
            raise ValueError("max_open_duration_s must be at least open_duration_s")


class Timeouts(Options, frozen=True, kw_only=True):
    """How long each phase may take, in seconds.

    Attributes:
        unary_timeout_s: the whole of a non-streamed answer.
        first_byte_timeout_s: a stream's first content.
        idle_timeout_s: between bytes of a stream.
        total_timeout_s: everything, waits and retries included, unless the call has its own.
    """

    connect_timeout_s: float = 5.0
    unary_timeout_s: float = 600.0
    first_byte_timeout_s: float = 300.0
    idle_timeout_s: float = 120.0
    total_timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._positive(*self.__struct_fields__)


class Serving(Options, frozen=True, kw_only=True):
    """How many requests run and wait.

    Attributes:
        max_concurrent: workers in a pool, each one request at a time.
        queue_capacity: requests that may wait.
        queue_timeout_s: how long a request may wait for room and dispatch together.
        on_capacity_exhausted: what a full queue does to a caller.
        priority_aging_s: a waiting request rises one class each so many seconds; 0: never.
    """

    max_concurrent: int = 128
    queue_capacity: int = 1024
    queue_timeout_s: float = 120.0
    on_capacity_exhausted: OnCapacityExhausted = "queue"
    priority_aging_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(1, "max_concurrent", "queue_capacity")
        self._positive("queue_timeout_s")
        self._at_least(0, "priority_aging_s")


class Budget(Options, frozen=True, kw_only=True):
    """What may be spent in any rolling 1 h, 24 h and 30 d; None does not apply, 0 blocks all."""

    max_spend_per_hour_usd: float | None = None
    max_spend_per_day_usd: float | None = None
    max_spend_per_month_usd: float | None = None
    on_exceeded: OnExceeded = "reject"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(0, "max_spend_per_hour_usd", "max_spend_per_day_usd", "max_spend_per_month_usd")


class Pricing(Options, frozen=True, kw_only=True):
    """Prices in USD per million tokens, instead of the published ones.

    With a price of input and of output it is the whole list: an absent class is priced as the class it is part of,
    `cache_write_1h` as `cache_write`, cached input and cache writes as input, reasoning as output. Without one of the
    two, every class that is absent keeps its published price. A price of 0 is free.
    """

    input_per_mtok_usd: float | None = None
    output_per_mtok_usd: float | None = None
    cached_input_per_mtok_usd: float | None = None
    cache_write_per_mtok_usd: float | None = None
    cache_write_1h_per_mtok_usd: float | None = None
    reasoning_per_mtok_usd: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._at_least(0, *self.__struct_fields__)

    @property
    def is_whole(self) -> bool:
        """Whether it needs no published prices beside it."""
        return self.input_per_mtok_usd is not None and self.output_per_mtok_usd is not None


class RuntimeConfig(Options, frozen=True, kw_only=True):
    """What every provider's own table has in common.

    Attributes:
        endpoint: base URL; None: the provider's own.
        api_key: a secret or where to read it; None: the provider's usual environment variable.
    """

    endpoint: str | None = None
    api_key: SecretLike | tuple[SecretLike, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.endpoint is not None and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint must begin with http:// or https://, not {self.endpoint!r}")


_AS_USUAL = RetryPolicy()


class Deployment(Options, frozen=True, kw_only=True):
    """One model at one provider, and every policy between it and its callers.

    Attributes:
        name: what callers ask for.
        group: callers may ask for it too; spreads over its members by weight, then least busy.
        model: what the provider is asked for; default: `name`.
        runtime: `openai`, `anthropic`, `gemini`, `litellm` or a third party's; inferred from the model when None.
        replicas: independent worker pools.
        idempotent: False: never retried, nor asked of a fallback once it may have been done.
        fallback: names or groups asked in order when this one can't.
        fallback_on: codes that fall back beside the retryable and refusing ones.
        fallback_after_s: a predicted wait beyond this goes to a healthy fallback at once.
        limit_group: deployments that name the same one share limiter and breaker.
        on_disconnect: what a client that leaves does to the provider's stream.
        unsupported: what happens to a field of a request that the provider has no counterpart for: `error` refuses
            the request, `warn` leaves the field out and says so in the log and in the answer's `warnings`.
    """

    name: str
    group: str | None = None
    weight: int = 1
    model: str | None = None
    runtime: str | None = None
    replicas: int = 1
    idempotent: bool = True
    fallback: tuple[str, ...] = ()
    fallback_on: tuple[ErrorCode, ...] = ()
    fallback_after_s: float = 1.0
    limit_group: str = ""
    on_disconnect: OnDisconnect = "cancel"
    unsupported: Unsupported = "error"
    runtime_config: RuntimeConfig | None = None
    http: HttpConfig = HttpConfig()
    rate_limits: RateLimits | None = None
    retry: RetryPolicy = _AS_USUAL
    circuit_breaker: CircuitBreakerConfig = CircuitBreakerConfig()
    timeouts: Timeouts = Timeouts()
    serving: Serving = Serving()
    budget: Budget | None = None
    pricing: Pricing | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.strip():
            raise ValueError("name must not be empty")
        self._at_least(1, "weight", "replicas")
        self._at_least(0, "fallback_after_s")
        takes = getattr(self.runtime_config, "runtime", None)
        if None not in {takes, self.runtime} and takes != self.runtime:
            raise ValueError(f"runtime_config is that of the runtime {takes!r}, not of {self.runtime!r}")
        if self.retry is _AS_USUAL:
            retries = default_retries(self.runtime or takes or _named_by(self.provider_model))
            if retries != self.retry.max_retries:
                msgspec.structs.force_setattr(self, "retry", RetryPolicy(max_retries=retries))

    @property
    def provider_model(self) -> str:
        """The model the provider is asked for."""
        return self.model or self.name

    def validate(self, facts: ModelFacts | None = None) -> list[str]:
        """Return what is doubtful about this deployment, one line each; an empty list is good.

        Limits are held against each other, against what the model can do, and against the provider's highest published
        tier; a doubt refuses nothing.

        Args:
            facts: what is known of the model; default: what its name tells, which is nothing of prices.
        """
        return doubts_of(self, facts)


def _named_by(model: str) -> str | None:
    return "litellm" if model.startswith("litellm/") else None


def default_retries(runtime: str | None) -> int:
    """Return the `max_retries` of a runtime's deployment that does not say: a LiteLLM proxy repeats by itself too."""
    return 1 if runtime == "litellm" else _AS_USUAL.max_retries
