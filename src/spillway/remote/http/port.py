"""The port: what a provider asks of an HTTP client, whichever library is behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import msgspec

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a whole, decoded answer that `read` takes unless told otherwise."""


class HttpRequest(msgspec.Struct):
    """One request.

    Attributes:
        url: absolute, percent-encoded as it goes on the wire.
        headers: each name once; they win over the client's own.
        own: headers of this request alone, in lower case and not among `headers`, which others share.
        on_sent: called once, when the last byte of the body has been handed to the operating system. A connection that
            turns out stale after that does not make it be called again.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    on_sent: Callable[[], None] | None = None
    own: Mapping[str, str] | None = None


@runtime_checkable
class HttpResponse(Protocol):
    """An answer whose head is in. It must be read to its end or closed.

    Every method raises `NetworkError` or `ServerError` when the body can't be had: `reset`, `incomplete`, `protocol`,
    `decode`, `too_large`.

    Cancellation: a read that is cancelled closes the socket before the cancellation goes on.
    """

    @property
    def status(self) -> int:
        """Between 200 and 599; redirects are not followed."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Looked up in any case; of a name that came more than once, the first."""
        ...

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        """Return the whole body; the connection then goes back to the pool.

        Args:
            limit: decoded bytes.

        Raises:
            ServerError: the body is longer than `limit` (`too_large`, not retryable), or can't be decoded.
        """
        ...

    async def read_some(self) -> bytes:
        """Return the next piece as it came from the network; `b""` at the clean end only."""
        ...

    def abort(self) -> None:
        """Close the socket now, without waiting for anything; may be called at any time and more than once."""
        ...

    async def aclose(self) -> None:
        """Return the connection to the pool if the body has been read to its end, else close the socket."""
        ...


@runtime_checkable
class HttpClient(Protocol):
    """Sends requests over a pool of connections.

    It neither retries (but for what the peer has certainly not taken up, once: over HTTP/1.1 a reused connection that
    died before any byte of an answer, over HTTP/2 a stream that was refused), nor follows redirects, nor keeps cookies,
    nor reads proxies or credentials from the environment.
    """

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Return once the head of the answer is in. Only connecting has a time limit here.

        Raises:
            NetworkError: with `reason` `connect`, `dns`, `tls`, `certificate`, `reset`, `disconnect`, `protocol`,
                `proxy` or `local`; `sent` says whether the whole body was written.
            Timeout: there was no connection in time (`connect`).
            BadRequest: the URL or a header can't be sent at all.

        Cancellation: closes the socket at once.
        """
        ...

    async def aclose(self) -> None:
        """Close all connections, those of answers under way too."""
        ...
