"""What every `HttpClient` must do, as tests: subclass `HttpClientConformance`, make a client, and let pytest run it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

from spillway.core.clock import sleep
from spillway.core.errors import BadRequest, NetworkError, ServerError, Timeout
from spillway.remote.http import HttpClient, HttpRequest
from spillway.testing.byte_server import ByteServer, Do, Sliced, Step, answer, chunked
from spillway.testing.http_steps import (
    BACK_S,
    asked,
    dies,
    error_of,
    first_piece,
    gone,
    holds,
    nap,
    pieces,
    post,
    same,
    whole,
)

_PATIENCE_S = 10.0
_BIG = 16 * 1024 * 1024
_TEXT = bytes(range(256)) * 4


class HttpClientConformance(ABC):
    """The suite. It needs asyncio tests to be run (pytest-asyncio in auto mode, or anyio), and loopback.

    Attributes:
        knows_used_connections: whether the client can tell a used connection from a fresh one. One that can't sends
            nothing a second time over HTTP/1.1; what dies on a used connection ends in a retryable NetworkError.
    """

    knows_used_connections: ClassVar[bool] = True

    @abstractmethod
    def make_client(self, *, connect_timeout_s: float = 1.0) -> HttpClient:
        """Return a new client; the suite closes it."""

    async def test_connection_is_kept_and_used_again(self) -> None:
        """Three requests, one connection."""
        async with self._serving([Do.READ, answer(b"1"), Do.READ, chunked(b"2"), Do.READ, answer(b"")]) as (
            http,
            server,
        ):
            bodies = [await whole(http, server, body=b"%d" % n) for n in range(3)]
            same(bodies, [b"1", b"2", b""])
            same([c.requests for c in server.conversations], [[b"0", b"1", b"2"]])

    async def test_read_some_gives_what_came_and_then_nothing(self) -> None:
        """A piece is there as soon as it came; after the clean end it is empty, again and again."""
        go = asyncio.Event()
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        async with self._serving([Do.READ, head + b"3\r\nabc\r\n", go, b"2\r\nde\r\n0\r\n\r\n"]) as (http, server):
            response = await post(http, server)
            same(await response.read_some(), b"abc")
            go.set()
            same([await response.read_some() for _ in range(3)], [b"de", b"", b""])
            await response.aclose()

    async def test_slices_make_no_difference(self) -> None:
        """An answer that comes byte by byte is the same answer, whole or in pieces, however its length is told."""
        for wire in (answer(_TEXT), chunked(_TEXT[:7], _TEXT[7:])):
            async with self._serving([Do.READ, Sliced(wire), Do.READ, Sliced(wire, size=3)]) as (http, server):
                same(await whole(http, server), _TEXT)
                same(b"".join(await pieces(await post(http, server))), _TEXT)
                same(len(server.conversations), 1)

    async def test_headers_are_found_in_any_case(self) -> None:
        """Both ways: what is sent arrives under its name, what came is found under any spelling."""
        async with self._serving([Do.READ, answer(headers={"X-Request-ID": "abc"})]) as (http, server):
            response = await post(http, server, headers={"X-Mine": "yes"})
            same([response.headers.get(n) for n in ("x-request-id", "X-REQUEST-ID", "missing")], ["abc", "abc", None])
            await response.read()
            holds(b"\r\nx-mine: yes\r\n" in bytes(server.conversations[0].received).lower(), "the header was not sent")

    async def test_headers_of_a_request_alone_go_beside_the_shared_ones(self) -> None:
        """Each request has its own; one that can't be sent is refused before anything is."""
        shared = {"x-shared": "yes"}
        async with self._serving([Do.READ, answer()] * 2) as (http, server):
            for number in ("1", "2"):
                request = HttpRequest("POST", server.url, shared, b"{}", None, {"x-own": number})
                await (await http.send(request)).read()
            received = b"".join(bytes(c.received) for c in server.conversations).lower()
            same([received.count(line) for line in (b"x-shared: yes", b"x-own: 1", b"x-own: 2")], [2, 1, 1])
            bad = HttpRequest("POST", server.url, shared, b"{}", None, {"x-own": "a\r\nx-evil: b"})
            same(type(await error_of(lambda: http.send(bad))), BadRequest)

    async def test_redirects_are_answers(self) -> None:
        """Whatever they point to, even nothing."""
        places: tuple[dict[str, str], ...] = ({"location": "/elsewhere"}, {"location": "file:///etc/passwd"}, {})
        for status in (301, 302, 303, 307, 308):
            for headers in places:
                async with self._serving([Do.READ, answer(b"", status, headers), Do.READ]) as (http, server):
                    response = await post(http, server)
                    same((response.status, await response.read()), (status, b""))
                    same(len(server.conversations[0].requests), 1)

    async def test_no_cookie_is_kept(self) -> None:
        """One user's cookie is not sent with another's request."""
        script: list[Step] = [Do.READ, answer(headers={"set-cookie": "a=b; path=/"}), Do.READ, answer()]
        async with self._serving(script) as (http, server):
            for _ in range(2):
                await (await post(http, server)).read()
            holds(b"cookie" not in bytes(server.conversations[0].received).lower(), "a cookie was sent")

    async def test_long_body_is_refused(self) -> None:
        """Over the limit, announced or not: `too_large`, not retryable, and the socket closes."""
        for wire in (answer(b"x" * 2000)[:-1], chunked(b"x" * 500, b"x" * 501, end=False)):
            async with self._serving([Do.READ, wire, Do.STALL]) as (http, server):
                response = await post(http, server)
                error = await error_of(lambda response=response: response.read(1000))  # type: ignore[misc] # a default
                holds(isinstance(error, ServerError), f"{error!r}")
                same((error.reason, error.retryable), ("too_large", False))
                await gone(server.conversations[0])
        script: list[Step] = [Do.READ, answer(b"x" * 1000)]
        async with self._serving(script) as (http, server):
            same(len(await (await post(http, server)).read(1000)), 1000)

    async def test_extra_bytes_are_never_an_answer(self) -> None:
        """What comes after the end is dropped with its connection; the next request gets its own answer."""
        evil = answer(b"evil")
        for end in (answer(b"good"), chunked(b"good")):
            for extra in (evil, evil[:9], b"rubbish\r\n\r\n", b"\r\n0\r\n"):
                at_once: list[Step] = [Do.READ, end + extra, Do.READ, evil]
                later: list[Step] = [Do.READ, end, 0.02, extra, Do.READ, evil]
                for script in (at_once, later):
                    async with self._serving(script, [Do.READ, answer(b"next")]) as (http, server):
                        same(await (await post(http, server)).read(), b"good")
                        await nap(0.06)
                        same(await (await post(http, server)).read(), b"next")

    async def test_failures_before_the_head_are_told_apart(self) -> None:
        """Refused, closed, reset: three reasons, all retryable; `sent` says what the provider may have seen."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            async with self._client() as http:
                url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
                refused = await error_of(lambda: http.send(HttpRequest("POST", url, {}, b"{}")))
        same((type(refused), refused.reason, refused.retryable, refused.sent), (NetworkError, "connect", True, False))
        for end, reason in ((Do.FIN, "disconnect"), (Do.RST, "reset")):
            async with self._serving([Do.READ, end]) as (http, server):
                error = await error_of(lambda http=http, server=server: post(http, server))  # type: ignore[misc] # defaults
                same((type(error), error.reason, error.retryable, error.sent), (NetworkError, reason, True, True))
                same(len(server.conversations), 1)

    async def test_failures_inside_the_body_are_told_apart(self) -> None:
        """A reset, an end too soon, a clean end: what came before is there, then the reason."""
        short = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"
        cases: list[tuple[list[Step], str | None]] = [
            ([chunked(b"abc", end=False), 0.02, Do.FIN], "incomplete"),
            ([chunked(b"abc", end=False), 0.02, Do.RST], "reset"),
            ([short, Do.FIN], "incomplete"),
            ([short, 0.02, Do.RST], "reset"),
            ([chunked(b"abc"), Do.FIN], None),
            ([b"HTTP/1.0 200 OK\r\n\r\nabc", Do.FIN], None),
        ]
        for steps, reason in cases:
            async with self._serving([Do.READ, *steps]) as (http, server):
                response = await post(http, server)
                got = b""
                seen = None
                try:
                    while piece := await response.read_some():
                        got += piece
                except NetworkError as error:
                    seen = error.reason
                same((got, seen), (b"abc", reason))

    async def test_stall_is_the_callers_to_end(self) -> None:
        """Neither before the head nor inside the body does the client give up by itself."""
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
        scripts: list[list[Step]] = [[Do.READ, Do.STALL], [Do.READ, head, Do.STALL]]
        for script in scripts:
            async with self._serving(script) as (http, server):
                asking = asyncio.ensure_future(first_piece(http, server))
                conversation = await asked(server)
                done, _ = await asyncio.wait([asking], timeout=0.15)
                holds(not done, "it did not wait")
                asking.cancel()
                await asyncio.wait([asking])
                await gone(conversation)

    async def test_connecting_has_its_own_limit(self) -> None:
        """A listener that never accepts costs `connect_timeout_s`, no more."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            fillers = [socket.socket() for _ in range(8)]
            try:
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(address)
                began = asyncio.get_running_loop().time()
                async with self._client(connect_timeout_s=0.2) as http:
                    request = HttpRequest("POST", f"http://127.0.0.1:{address[1]}/", {}, b"{}")
                    error = await error_of(lambda: http.send(request))
                took = asyncio.get_running_loop().time() - began
            finally:
                for filler in fillers:
                    filler.close()
        same((type(error), error.reason, error.sent), (Timeout, "connect", False))
        holds(took < 1.0, f"it took {took:.2f} s")

    async def test_stale_connection_is_tried_once_more(self) -> None:
        """A used connection that dies before any byte of the answer; the caller sees nothing of it."""
        for end in (Do.FIN, Do.RST):
            scripts: list[list[Step]] = [[Do.READ, answer(b"1"), Do.READ, end], [Do.READ, answer(b"2")]]
            async with self._serving(*scripts) as (http, server):
                same(await whole(http, server), b"1")
                if not self.knows_used_connections:
                    await dies(http, server)
                same(await (await post(http, server)).read(), b"2")
                same(len(server.conversations), 2)

    async def test_nothing_else_is_tried_again(self) -> None:
        """Neither a second stale one, nor a fresh one, nor one from which a byte came."""
        used: list[Step] = [Do.READ, answer(b"1"), Do.READ]
        cases: list[tuple[list[list[Step]], int]] = [
            ([[*used, Do.FIN], [Do.READ, Do.FIN]], 2),
            ([[*used, b"HTTP/1.1 2", Do.FIN]], 1),
            ([[*used, b"HTTP/1.1 2", 0.02, Do.RST]], 1),
        ]
        for scripts, connections in cases:
            async with self._serving(*scripts) as (http, server):
                await whole(http, server)
                await dies(http, server)
                same(len(server.conversations), connections if self.knows_used_connections else 1)

    async def test_fresh_means_never_used(self) -> None:
        """With several idle connections the second try takes none of them."""
        both = asyncio.Event()
        used: list[Step] = [Do.READ, both, answer(b"1"), Do.READ, Do.FIN]
        async with self._serving(used, used, [Do.READ, answer(b"2")]) as (http, server):
            async with asyncio.TaskGroup() as group:
                first = [group.create_task(post(http, server)) for _ in range(2)]
                for number in range(2):
                    await asked(server, number)
                both.set()
            for task in first:
                await (await task).read()
            await sleep(BACK_S)
            if not self.knows_used_connections:
                for _ in first:
                    await dies(http, server)
            same(await (await post(http, server)).read(), b"2")
            same(len(server.conversations), 3)

    async def test_on_sent_follows_the_last_byte(self) -> None:
        """Once, not while the peer has yet to take some of the body, and before the answer."""
        hear = asyncio.Event()
        calls: list[int] = []
        async with self._serving([Do.READ_HEAD, Do.DEAF, hear, Do.HEAR, Do.READ, answer()]) as (http, server):
            sending = asyncio.ensure_future(post(http, server, body=bytes(_BIG), on_sent=lambda: calls.append(1)))
            await server.conversation()
            await sleep(0.1)
            same(calls, [])
            hear.set()
            response = await sending
            same(calls, [1])
            await response.read()

    async def test_early_answer_wins(self) -> None:
        """A 4xx that comes while the body is still being sent is the answer, whatever happens to the connection."""
        calls: list[int] = []
        for end in (Do.STALL, Do.FIN, Do.RST):
            too_big = answer(b"too big", 413)
            async with self._serving([Do.READ_HEAD, Do.DEAF, too_big, 0.05, end]) as (http, server):
                response = await post(http, server, body=bytes(_BIG), on_sent=lambda: calls.append(1))
                same((response.status, await response.read()), (413, b"too big"))
                await response.aclose()
        same(calls, [])

    async def test_cancelled_before_the_head_closes(self) -> None:
        """The server sees it within 100 ms."""
        async with self._serving([Do.READ, Do.STALL]) as (http, server):
            await self._cancelled(asyncio.ensure_future(post(http, server)), server)

    async def test_cancelled_inside_the_request_closes(self) -> None:
        """Also when the peer takes no more of the body and the rest of it would keep the socket open."""
        hear = asyncio.Event()
        async with self._serving([Do.READ_HEAD, Do.DEAF, hear, Do.HEAR]) as (http, server):
            sending = asyncio.ensure_future(post(http, server, body=bytes(_BIG)))
            conversation = await server.conversation()
            await sleep(0.1)
            sending.cancel()
            await asyncio.wait([sending])
            hear.set()
            await gone(conversation)
            holds(len(conversation.received) < _BIG, "the whole body was sent")

    async def test_cancelled_inside_the_answer_closes(self) -> None:
        """Whether it is read whole or in pieces."""
        for at_once in (True, False):
            async with self._serving([Do.READ, chunked(b"abc", end=False), Do.STALL]) as (http, server):
                response = await post(http, server)
                if not at_once:
                    await response.read_some()
                reading = asyncio.ensure_future(response.read() if at_once else response.read_some())
                await self._cancelled(reading, server)

    async def test_left_answer_closes(self) -> None:
        """`abort` at once and `aclose` early end the connection; both may be called again."""
        for way in ("abort", "aclose"):
            async with self._serving([Do.READ, chunked(b"abc", end=False), Do.STALL]) as (http, server):
                response = await post(http, server)
                for _ in range(2):
                    if way == "abort":
                        response.abort()
                    else:
                        await response.aclose()
                await gone(server.conversations[0])

    async def test_closed_after_the_end_keeps_the_connection(self) -> None:
        """An answer that was read to its end gives its connection back; closing it then does no harm."""
        async with self._serving([Do.READ, answer(b"1"), Do.READ, answer(b"2")]) as (http, server):
            for _ in range(2):
                response = await post(http, server)
                await pieces(response)
                await response.aclose()
                response.abort()
                await sleep(BACK_S)
            same(len(server.conversations), 1)

    async def test_closing_the_client_closes_everything(self) -> None:
        """Idle connections and answers under way."""
        async with self._serving([Do.READ, chunked(b"abc", end=False), Do.STALL]) as (http, server):
            response = await post(http, server)
            await http.aclose()
            await gone(server.conversations[0])
            response.abort()

    @contextlib.asynccontextmanager
    async def _client(self, *, connect_timeout_s: float = 1.0) -> AsyncIterator[HttpClient]:
        client = self.make_client(connect_timeout_s=connect_timeout_s)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                yield client
        finally:
            await client.aclose()

    @contextlib.asynccontextmanager
    async def _serving(self, *scripts: Sequence[Step]) -> AsyncIterator[tuple[HttpClient, ByteServer]]:
        async with ByteServer(*scripts) as server, self._client() as client:
            yield client, server

    @staticmethod
    async def _cancelled(task: asyncio.Future[Any], server: ByteServer) -> None:
        conversation = await asked(server)
        await sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        holds(task.cancelled(), "the cancellation did not come through")
        await gone(conversation)
