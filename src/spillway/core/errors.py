"""The one error tree. Every leaf says what policy needs to know, which reads attributes, never types or statuses.

Foreign exceptions are mapped once, at the boundary, with `raise ... from`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from spillway.core.reply import Tokens


class InferenceError(Exception):
    """A request could not be answered.

    Attributes:
        code: stable machine-readable name of the class.
        retryable: whether another attempt of the same request may succeed.
        counts_as_circuit_failure: whether it speaks of the provider's health.
        http_status: the status a gateway answers with.
        provider: name of the provider or runtime, when known.
        deployment: name of the deployment, when known.
        attempts: attempts that were sent to any provider.
        reason: finer than the class, e.g. `"connect"`, `"idle"`, `"queue"`.
        retry_after: seconds until it is worth asking again, when known.
        limited_by: `key`, `deployment`, `provider`, `budget`, `breaker` or `queue` on a refusal, else None.
        status: the provider's HTTP status, when there was one.
        body: the provider's error body, secrets masked, at most 2 KB.
        native: the whole of it, secrets masked, where it is JSON of Anthropic's shape and at most 64 KiB, else None.
        elapsed_s: how long the attempt took, when known.
        sent: whether the whole request body was on the wire when it failed.
        partial: what came before a stream broke, else None.
        final: no fallback and no other member of a group is to be asked, whatever the class says.
        refusal: what stood in the way of a further attempt when this, the newest sent attempt's error, was raised.
        history: one `(deployment, code, elapsed_s)` for each failed attempt.
    """

    code: ClassVar[str] = "inference_error"
    http_status: ClassVar[int] = 500
    retryable: bool = False
    counts_as_circuit_failure: bool = False
    limited_by: str | None = None

    def __init__(
        self,
        message: str = "",
        *,
        provider: str | None = None,
        deployment: str | None = None,
        attempts: int = 0,
        reason: str | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        body: str | None = None,
        elapsed_s: float | None = None,
        **particular: Any,
    ) -> None:
        super().__init__(message or type(self).code.replace("_", " "))
        self.provider = provider
        self.deployment = deployment
        self.attempts = attempts
        self.reason = reason
        self.retry_after = retry_after
        self.status = status
        self.body = body
        self.native: str | None = None
        self.elapsed_s = elapsed_s
        self.sent = False
        self.partial: Tokens | None = None
        self.final = False
        self.refusal: InferenceError | None = None
        self.history: tuple[tuple[str, str, float], ...] = ()
        for name, value in particular.items():
            setattr(self, name, value)

    @property
    def falls_back(self) -> bool:
        """Whether another deployment may be asked instead: it is retryable, or a refusal."""
        return self.retryable or self.limited_by is not None

    @property
    def message(self) -> str:
        """The message without context."""
        return str(self.args[0])

    def __str__(self) -> str:
        where = self.deployment or self.provider
        return f"{where}: {self.args[0]}" if where else str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args[0], dict(self.__dict__)))


def _rebuild(kind: type[InferenceError], message: str, state: dict[str, Any]) -> InferenceError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class RateLimited(InferenceError):
    """A limit, ours or the provider's, has no room now; `retry_after` says when it has."""

    code = "rate_limited"
    http_status = 429
    retryable = True
    limited_by = "deployment"


class Backpressure(InferenceError):
    """There was no room to wait: the queue is full, closed or shutting down."""

    code = "backpressure"
    http_status = 429
    limited_by = "queue"


class BudgetExceeded(InferenceError):
    """Spending it would exceed a cap."""

    code = "budget_exceeded"
    http_status = 402
    limited_by = "budget"


class QuotaExhausted(InferenceError):
    """The provider's billing refuses: no retry helps before somebody pays or a day passes."""

    code = "quota_exhausted"
    http_status = 402
    limited_by = "provider"


class CircuitOpen(InferenceError):
    """The breaker of the deployment refuses; `opened_at` and `retry_at` are monotonic seconds of its clock."""

    code = "circuit_open"
    http_status = 503
    limited_by = "breaker"
    opened_at: float | None = None
    retry_at: float | None = None


class ServerError(InferenceError):
    """The provider failed: a 5xx, or an answer that can't be read."""

    code = "server_error"
    http_status = 502
    retryable = True
    counts_as_circuit_failure = True


class NetworkError(InferenceError):
    """The connection failed: DNS, connect, TLS, reset, disconnect, protocol, proxy."""

    code = "network_error"
    http_status = 502
    retryable = True
    counts_as_circuit_failure = True


class Timeout(InferenceError):
    """A time limit ran out; `reason` says which: connect, first_byte, idle, unary, deadline, queue."""

    code = "timeout"
    http_status = 504
    retryable = True
    counts_as_circuit_failure = True


class ContentFiltered(InferenceError):
    """The provider's policy refused the prompt."""

    code = "content_filtered"
    http_status = 400


class ContextLengthExceeded(InferenceError):
    """The prompt and the answer asked for do not fit the model's context."""

    code = "context_length_exceeded"
    http_status = 400


class BadRequest(InferenceError):
    """The request itself is wrong and no provider will take it."""

    code = "bad_request"
    http_status = 400


class Unauthorized(InferenceError):
    """The provider does not take our credential."""

    code = "unauthorized_upstream"
    http_status = 502
    limited_by = "provider"


class Forbidden(InferenceError):
    """The provider takes our credential but refuses it this."""

    code = "forbidden_upstream"
    http_status = 502
    limited_by = "provider"


class StreamInterrupted(InferenceError):
    """A stream broke after its first content; `partial` holds what came, `__cause__` says how."""

    code = "stream_interrupted"
    http_status = 502
    counts_as_circuit_failure = True


class ModelNotFound(InferenceError):
    """There is no deployment or group of that name, or the provider knows no such model."""

    code = "model_not_found"
    http_status = 404


class InvalidApiKey(InferenceError):
    """The caller's own gateway key is not valid."""

    code = "invalid_api_key"
    http_status = 401


class ConfigError(ValueError):
    """A configuration is wrong; the message is one line that names the place and the nearest valid thing."""
