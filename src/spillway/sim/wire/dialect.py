"""What a dialect is: how one provider reads a question, writes an answer and refuses."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask
from spillway.sim.limits import Verdict

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
CREATED_EPOCH = 1_790_000_000

json_bytes = msgspec.json.Encoder().encode


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request leads: what is wanted, of which model if the path says so.

    `action` is `generate`, `embed`, `count`, `models` or `alive`; `stream` is None when the body decides. `variant` is
    what else changes the reading of a body: Anthropic's API version and, after a blank, beta features; Gemini's framing
    or kind of embedding.
    """

    action: str
    model: str | None = None
    stream: bool | None = None
    variant: str = ""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal, before a dialect puts it into its own words.

    `kind` is one of: bad_request, no_route, no_method, no_model, no_key, bad_key, forbidden, rate_limit, quota,
    content_filter, context_length, server, unavailable, overloaded.
    """

    kind: str
    message: str = ""
    param: str | None = None
    retry_after_s: float | None = None
    verdict: Verdict | None = None
    model: str = ""
    stream: bool = False


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal as it goes out."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    content_type: str = JSON


class StreamPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A streamed answer: what comes before the first content, one entry for each piece of content, and the end."""

    head: list[bytes]
    body: list[bytes]
    tail: list[bytes]
    content_type: str = EVENT_STREAM


class Dialect(Protocol):
    """One provider's wire format; stateless."""

    name: str

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the API key that came with a request, "" for none."""
        ...

    def read(self, raw: bytes, route: Route) -> Ask:
        """Read a body; raises `BadAsk`."""
        ...

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a whole answer."""
        ...

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write an answer as a stream."""
        ...

    def headers(
        self, request_id: str, ask: Ask, answer: Answer, verdict: Verdict | None, wall: datetime
    ) -> dict[str, str]:
        """Return the headers of an answer; `verdict` is None when no limit is set."""
        ...

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Put a refusal into the provider's words."""
        ...

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return what a stream carries when the provider fails in the middle, to the end of the stream."""
        ...

    def other(self, raw: bytes, route: Route) -> tuple[Ask, bytes]:
        """Answer an `embed` or `count` route; raises `BadAsk`."""
        ...

    def models(self) -> bytes:
        """Answer a `models` route."""
        ...


def created(answer: Answer) -> int:
    """Return the answer's time stamp, which is a function of its hash."""
    return CREATED_EPOCH + int.from_bytes(answer.digest[:3], "big")


def bearer(headers: Mapping[str, str]) -> str:
    """Return the token of `Authorization: Bearer`, "" for none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def sse(data: Any) -> bytes:
    """Write one nameless event."""
    return b"data: " + json_bytes(data) + b"\n\n"


def named_sse(event: str, data: Any) -> bytes:
    """Write one event with its name."""
    return b"event: " + event.encode() + b"\ndata: " + json_bytes(data) + b"\n\n"


def whole_seconds(seconds: float) -> str:
    """Write seconds as an integer, rounded up: a wait is never understated."""
    return str(-int(-seconds // 1))
