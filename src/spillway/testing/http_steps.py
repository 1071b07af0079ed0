"""The steps that the HTTP client's suite is made of: send, read, look at what the server saw, and say what is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from spillway.core.clock import sleep
from spillway.core.errors import InferenceError, NetworkError
from spillway.remote.http import HttpClient, HttpRequest, HttpResponse
from spillway.testing.byte_server import ByteServer, Conversation

GONE_WITHIN_S = 0.1

_PIECE_S = 0.01
BACK_S = 0.05
"""How long a connection may take on its way back to the pool; a client may do that in a thread of its own."""


async def post(
    http: HttpClient,
    server: ByteServer,
    *,
    body: bytes = b"{}",
    headers: dict[str, str] | None = None,
    on_sent: Callable[[], None] | None = None,
) -> HttpResponse:
    """Send a request of JSON and return its answer's head."""
    headers = {"content-type": "application/json", **(headers or {})}
    return await http.send(HttpRequest("POST", server.url, headers, body, on_sent))


async def whole(http: HttpClient, server: ByteServer, *, body: bytes = b"{}") -> bytes:
    """Return a whole body, once its connection has had the time to go back to the pool."""
    whole = await (await post(http, server, body=body)).read()
    await sleep(BACK_S)
    return whole


async def first_piece(http: HttpClient, server: ByteServer) -> bytes:
    """Send a request and return the first piece of its answer."""
    return await (await post(http, server)).read_some()


async def asked(server: ByteServer, number: int = 0) -> Conversation:
    """Return a connection, once a whole request came over it."""
    conversation = await server.conversation(number)
    while not conversation.requests:
        await sleep(0.005)
    return conversation


async def dies(http: HttpClient, server: ByteServer) -> None:
    """Send a request that must end in a retryable NetworkError."""
    error = await error_of(lambda: post(http, server))
    same((type(error), error.retryable), (NetworkError, True))


async def pieces(response: HttpResponse) -> list[bytes]:
    """Return what comes, piece by piece, up to the clean end."""
    came = []
    while piece := await response.read_some():
        came.append(piece)
    return came


async def error_of(call: Callable[[], Awaitable[object]]) -> InferenceError:
    """Return what `call` ends in, which must be an error of ours."""
    try:
        got = await call()
    except InferenceError as error:
        return error
    raise AssertionError(f"it answered {got!r}")


async def nap(seconds: float) -> None:
    """Wait in short pieces: on a busy machine too, what happens meanwhile has turns of the loop to happen in."""
    for _ in range(round(seconds / _PIECE_S)):
        await sleep(_PIECE_S)


async def gone(conversation: Conversation) -> None:
    """Fail unless the server sees the client leave within `GONE_WITHIN_S`."""
    left = await conversation.gone_within(GONE_WITHIN_S)
    holds(left, f"the connection was still open after {GONE_WITHIN_S} s")


def same(got: object, expected: object) -> None:
    """Fail unless both are equal."""
    holds(got == expected, f"got {got!r}, not {expected!r}")


def holds(fact: bool, otherwise: str) -> None:  # noqa: FBT001 # an assertion
    """Fail with `otherwise` unless `fact`."""
    if not fact:
        raise AssertionError(otherwise)
