"""What the gateway tells of each request after its end: one record for every answer, refusals included."""

from __future__ import annotations

from typing import Protocol

import msgspec

from spillway.core.reply import Usage


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a caller, after its end. Holds no prompt, no answer and no secret.

    Attributes:
        at: when it ended, in the loop's seconds.
        request_id: the caller's `x-request-id`, or ours; what the answer's header said.
        errand_id: what the engines' records call it; empty when it never reached them.
        door: `chat`, `responses`, `embeddings`, `messages`, `count_tokens`, `models`, …; empty where there is no door.
        caller: the name of the key; empty when none was known.
        model: what was asked for, once it was known to exist; empty before.
        status: the HTTP status that went out; 499 when the caller left before any.
        outcome: `ok`, `cancelled` (the caller left), or the code of the error the caller got.
        limited_by: whose limit refused it, None when none did.
        first_content_s: from its arrival to the first byte of a stream's content.
        queued_s: waiting for a slot, a permit or a retry's turn.
        upstream_s: waiting for providers.
        waited_s: waiting for the caller: for the pieces of its body, and for it to take those of the answer.
        overhead_s: what is left of `elapsed_s`: the gateway's own share.
        traceparent: of the caller's headers, unread; empty without one.
        plain: seconds of its one attempt and up to its first content, where that is told of here alone.
        cost_pico: pico-USD of all attempts; None: the price is unknown.
    """

    at: float
    request_id: str
    door: str
    status: int
    outcome: str
    elapsed_s: float
    errand_id: str = ""
    caller: str = ""
    model: str = ""
    deployment: str = ""
    stream: bool = False
    attempts: int = 0
    retries: int = 0
    fell_back: bool = False
    limited_by: str | None = None
    first_content_s: float | None = None
    queued_s: float = 0.0
    upstream_s: float = 0.0
    waited_s: float = 0.0
    overhead_s: float = 0.0
    usage: Usage | None = None
    cost_pico: int | None = 0
    plain: tuple[float, float] | None = None
    method: str = ""
    traceparent: str = ""


class Listener(Protocol):
    """Is told of every request after its end; must return quickly, and what it raises is logged and changes nothing."""

    def on_served(self, record: Served) -> None:
        """Take note of one request."""
        ...
