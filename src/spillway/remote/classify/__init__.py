"""What a provider's refusal means: its status, its headers and its body."""

from __future__ import annotations

from spillway.remote.classify.body import ErrorBody, read_error_body
from spillway.remote.classify.delay import retry_delay, should_retry
from spillway.remote.classify.durations import parse_go_duration, parse_protobuf_duration
from spillway.remote.classify.redaction import one_line, redact
from spillway.remote.classify.retry_after import parse_http_date, parse_retry_after, parse_retry_after_ms
from spillway.remote.classify.status import ProviderKind, classify_http_status, implied_status

__all__ = [
    # from a status to an error
    "ProviderKind",
    "classify_http_status",
    "implied_status",
    # how long to wait
    "parse_go_duration",
    "parse_http_date",
    "parse_protobuf_duration",
    "parse_retry_after",
    "parse_retry_after_ms",
    "retry_delay",
    "should_retry",
    # what the body says
    "ErrorBody",
    "one_line",
    "read_error_body",
    "redact",
]
