"""What goes over a connection, byte for byte, and what becomes of the connection."""

import asyncio
import ssl
import traceback
from typing import NamedTuple

import pytest
import trustme

from spillway.core.errors import BadRequest
from spillway.core.options import HttpConfig, Timeouts
from spillway.providers.wire_runner import Headers
from spillway.remote.http import HttpRequest
from spillway.remote.http.aiohttp_client import AiohttpClient
from spillway.testing.byte_server import ByteServer, Do, answer

BIG = bytes(range(256)) * 4096 * 8


class Client(AiohttpClient):
    """Sends to one server; used as a context manager."""

    def __init__(self, url, **http):
        super().__init__(Timeouts(connect_timeout_s=5.0), "faults/1", http=HttpConfig(**http))
        self.server = url

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.aclose()

    async def fetch(self, body=b"{}", method="POST", on_sent=None, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.send(HttpRequest(method, self.server, names, body, on_sent))
        return await response.read()


class Tls(NamedTuple):
    """What a server shows, and the file of who vouches for it."""

    context: ssl.SSLContext | None
    ca_file: str | None


@pytest.fixture
def tls(tmp_path):
    authority = trustme.CA()
    ca_file = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return Tls(context, ca_file)


def heads(received):
    """Return request line and headers of each request, names in lower case."""
    found = []
    for part in bytes(received).split(b"\r\n\r\n"):
        line, *rest = part[part.find(b"POST") :].decode().split("\r\n")
        if line.startswith("POST"):
            found.append((line, {k.lower(): v for k, _, v in (each.partition(": ") for each in rest)}))
    return found


def test_each_request_has_its_own_headers_and_length(run):
    async def work():
        async with ByteServer([Do.READ, answer(b"1"), Do.READ, answer(b"2"), Do.READ, answer(b"3")]) as server:
            async with Client(server.url) as client:
                await client.fetch(b"a", x_mine="1")
                await client.fetch(b"bcd", x_mine="2", user_agent="mine/2")
                await client.fetch(b"", x_mine="2", content_type="text/plain")
            (talk,) = server.conversations
        common = {
            "host": server.url.split("/")[2],
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        plain = {**common, "user-agent": "faults/1", "content-type": "application/json"}
        assert [headers for _, headers in heads(talk.received)] == [
            {**plain, "x-mine": "1", "content-length": "1"},
            {**plain, "x-mine": "2", "content-length": "3", "user-agent": "mine/2"},
            {**plain, "x-mine": "2", "content-length": "0", "content-type": "text/plain"},
        ]

    run(work)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("expect", "100-continue"),
        ("x-mine", "a\r\nb: c"),
        ("x\r\n", "a"),
        ("x-mine", "\x00"),
        ("x-mine", "\ud800"),
    ],
)
def test_headers_that_would_change_the_framing_are_not_sent(run, name, value):
    async def work():
        async with ByteServer([Do.READ, answer(b"fine")]) as server, Client(server.url) as client:
            hidden = Headers({"authorization": "very-secret", name: value})
            with pytest.raises(BadRequest) as caught:
                await client.send(HttpRequest("POST", server.url, hidden, b"{}"))
            assert (caught.value.reason, caught.value.sent) == ("unsendable", False)
            shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
            assert "very-secret" not in "".join(shown)
            assert await client.fetch() == b"fine"
            assert len(server.conversations) == 1

    run(work)


def test_answer_without_a_body_to_head(run):
    async def work():
        script = [Do.READ, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", Do.READ, answer(b"2")]
        async with ByteServer(script) as server, Client(server.url) as client:
            assert await client.fetch(b"", method="HEAD") == b""
            assert await client.fetch() == b"2"
            assert len(server.conversations) == 1

    run(work)


def test_plain_requests_share_a_connection_to_the_proxy(run):
    async def work():
        async with ByteServer([Do.READ, answer(b"1"), Do.READ, answer(b"2")]) as proxy:
            address = f"http://user:pass@127.0.0.1:{proxy.port}"
            async with Client("http://provider.test/v1?a=b", proxy=address) as client:
                assert [await client.fetch(), await client.fetch()] == [b"1", b"2"]
            (talk,) = proxy.conversations
        for line, headers in heads(talk.received):
            assert line == "POST http://provider.test/v1?a=b HTTP/1.1"
            assert (headers["host"], headers["proxy-authorization"]) == ("provider.test", "Basic dXNlcjpwYXNz")
        assert len(talk.requests) == 2

    run(work)


class Tunnels:
    """A proxy that opens tunnels to one server and keeps what it was asked."""

    def __init__(self, port):
        self.port, self.asked = port, []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://user:pass@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader, writer):
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    @staticmethod
    async def _pass_on(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


def test_requests_share_a_tunnel_and_only_the_proxy_learns_its_password(run, tls):
    async def work():
        script = [Do.READ, answer(b"1"), Do.READ, answer(b"2")]
        async with ByteServer(script, tls=tls.context) as server, Tunnels(server.port) as proxy:
            async with Client(server.url, ca_file=tls.ca_file, proxy=proxy.url) as client:
                assert [await client.fetch(BIG), await client.fetch()] == [b"1", b"2"]
            (talk,) = server.conversations
            await talk.gone.wait()
        (asked,) = proxy.asked
        assert asked.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
        assert b"Proxy-Authorization: Basic dXNlcjpwYXNz\r\n" in asked
        assert talk.requests == [BIG, b"{}"]
        assert b"dXNlcjpwYXNz" not in talk.received

    run(work)


def test_informational_answers_are_passed_over(run):
    async def work():
        steps = [Do.READ, b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", answer(b"1"), Do.READ, answer(b"2")]
        async with ByteServer(steps) as server, Client(server.url) as client:
            assert [await client.fetch(), await client.fetch()] == [b"1", b"2"]
            assert len(server.conversations) == 1

    run(work)


@pytest.mark.parametrize("safely", [False, True], ids=["plain", "tls"])
def test_long_bodies_arrive_whole_and_keep_the_connection(run, safely, tls):
    context, ca_file = tls if safely else (None, None)

    async def work():
        told = []
        async with ByteServer([Do.READ, answer(b"1"), Do.READ, answer(b"2")], tls=context) as server:
            async with Client(server.url, ca_file=ca_file) as client:
                for body in (BIG, BIG[: 200 * 1024]):
                    await client.fetch(body, on_sent=lambda body=body: told.append(len(body)))
            assert server.conversations[0].requests == [BIG, BIG[: 200 * 1024]]
        assert told == [len(BIG), 200 * 1024]

    run(work)


def test_early_answer_ends_the_use_of_its_connection(run):
    """The rest of the body must not be taken for the next request."""

    async def work():
        first = [Do.READ_HEAD, Do.DEAF, answer(b"too big", 413), Do.STALL]
        async with ByteServer(first, [Do.READ, answer(b"next")]) as server, Client(server.url) as client:
            told = []
            assert await client.fetch(BIG, on_sent=lambda: told.append(1)) == b"too big"
            assert await client.fetch() == b"next"
            assert told == []
            assert len(server.conversations) == 2

    run(work)
