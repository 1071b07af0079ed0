"""What can go wrong before there is a connection: names, addresses, TLS, proxies, this machine."""

import asyncio
import contextlib
import datetime as dt
import errno
import os
import resource
import socket
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohttp.abc import AbstractResolver

from spillway.core.errors import BadRequest, ConfigError, NetworkError, Timeout
from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http import HttpRequest, build_client
from spillway.remote.http.aiohttp_client import AiohttpClient
from spillway.testing.byte_server import ByteServer, Do, answer

BOTH = pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
"""Of the clients for HTTP/1.1 and for HTTP/2."""


class Names(AbstractResolver):
    """Says what it is told of any name."""

    def __init__(self, *addresses, fails=None, when=None):
        self.addresses, self.fails, self.when = addresses, fails, when

    async def resolve(self, host, port=0, family=socket.AF_INET):
        if self.when is not None:
            await self.when.wait()
        if self.fails is not None:
            raise self.fails
        return [
            {"hostname": host, "host": a, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for a in self.addresses
        ]

    async def close(self):
        pass


@asynccontextmanager
async def client_of(*, timeouts=None, resolver=None, **http):
    timeouts = timeouts or Timeouts(connect_timeout_s=1.0)
    if resolver is None:
        client = build_client(timeouts, "faults/1", http=HttpConfig(**http))
    else:
        client = AiohttpClient(timeouts, "faults/1", http=HttpConfig(**http), resolver=resolver)
    try:
        async with asyncio.timeout(10):
            yield client
    finally:
        await client.aclose()


async def error_of(client, url):
    with pytest.raises((NetworkError, Timeout)) as caught:
        await client.send(HttpRequest("POST", url, {}, b"{}"))
    assert not caught.value.sent
    return caught.value


@pytest.mark.parametrize(
    ("code", "retryable"),
    [(socket.EAI_NONAME, False), (socket.EAI_NODATA, False), (socket.EAI_AGAIN, True), (socket.EAI_FAIL, True)],
)
async def test_name_that_does_not_resolve(code, retryable):
    resolver = Names(fails=socket.gaierror(code, "no"))
    async with client_of(resolver=resolver) as client:
        error = await error_of(client, "http://nowhere.test/")
        assert (error.reason, error.retryable, error.counts_as_circuit_failure) == ("dns", retryable, True)
        assert "nowhere.test" in str(error)


async def test_slow_name_server_costs_the_connect_timeout():
    never = asyncio.Event()
    resolver = Names("127.0.0.1", when=never)
    async with client_of(timeouts=Timeouts(connect_timeout_s=0.2), resolver=resolver) as client:
        error = await error_of(client, "http://slow.test/")
    assert (type(error), error.reason) == (Timeout, "connect")


async def test_dead_address_beside_a_live_one():
    async with ByteServer([Do.READ, answer(b"hello")]) as server:
        async with client_of(resolver=Names("::1", "127.0.0.1")) as client:
            async with asyncio.timeout(1):
                response = await client.send(HttpRequest("POST", f"http://both.test:{server.port}/", {}, b"{}"))
            assert await response.read() == b"hello"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def tls_server(authority, name="127.0.0.1", **cert):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **cert).configure_cert(context)
    return context


@BOTH
async def test_tls_with_the_authority_of_the_options(authority, ca_file, http2):
    async with ByteServer([Do.READ, answer(b"hello")] * 2, tls=tls_server(authority)) as server:
        async with client_of(http2=http2, ca_file=ca_file) as client:
            for _ in range(2):
                response = await client.send(HttpRequest("POST", server.url, {}, b"{}"))
                assert await response.read() == b"hello"
            assert len(server.conversations) == 1


@BOTH
async def test_tls_stream_left_early_closes_the_socket(authority, ca_file, http2):
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    async with ByteServer([Do.READ, head, Do.STALL], tls=tls_server(authority)) as server:
        async with client_of(http2=http2, ca_file=ca_file) as client:
            response = await client.send(HttpRequest("POST", server.url, {}, b"{}"))
            assert await response.read_some() == b"abc"
            response.abort()
            assert await server.conversations[0].gone_within(0.1)


@pytest.mark.parametrize("case", ["unknown authority", "expired", "wrong name"])
@BOTH
async def test_certificate_that_is_not_trusted(case, authority, ca_file, http2):
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    context = {
        "unknown authority": lambda: tls_server(trustme.CA()),
        "expired": lambda: tls_server(authority, not_before=past, not_after=past + dt.timedelta(days=1)),
        "wrong name": lambda: tls_server(authority, "elsewhere.test"),
    }[case]()
    async with (
        ByteServer([Do.READ, answer()], tls=context) as server,
        client_of(http2=http2, ca_file=ca_file) as client,
    ):
        error = await error_of(client, server.url)
        assert (error.reason, error.retryable, error.counts_as_circuit_failure) == ("certificate", False, True)
        assert "127.0.0.1" in str(error)
        assert all(not c.requests for c in server.conversations)


@pytest.mark.parametrize(
    "steps", [[b"HTTP/1.1 400 Bad Request\r\n\r\n"], [b"\x15\x03\x03\x00\x02\x02\x28"], [Do.FIN], [Do.RST]]
)
@BOTH
async def test_tls_with_somebody_who_speaks_none(steps, ca_file, http2):
    async with ByteServer([0.05, *steps]) as server, client_of(http2=http2, ca_file=ca_file) as client:
        error = await error_of(client, server.url.replace("http:", "https:"))
        assert (error.reason, error.retryable) == ("tls", True)


@BOTH
async def test_stalled_handshake_costs_the_connect_timeout(ca_file, http2):
    async with ByteServer([Do.STALL]) as server:
        async with client_of(http2=http2, ca_file=ca_file, timeouts=Timeouts(connect_timeout_s=0.2)) as client:
            error = await error_of(client, server.url.replace("http:", "https:"))
            assert (type(error), error.reason) == (Timeout, "connect")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*is deprecated:DeprecationWarning")
@BOTH
async def test_tls_below_1_2_is_not_spoken(authority, ca_file, http2):
    context = tls_server(authority)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with (
        ByteServer([Do.READ, answer()], tls=context) as server,
        client_of(http2=http2, ca_file=ca_file) as client,
    ):
        assert (await error_of(client, server.url)).reason == "tls"


TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


@BOTH
async def test_proxy_of_the_environment_is_not_used(monkeypatch, http2):
    async with ByteServer([Do.READ, answer(b"direct")]) as server, ByteServer([Do.STALL]) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with client_of(http2=http2) as client:
            response = await client.send(HttpRequest("POST", server.url, {}, b"{}"))
            assert await response.read() == b"direct"
        assert proxy.conversations == []


@BOTH
async def test_proxy_of_the_options_gets_plain_requests_whole(http2):
    async with ByteServer([Do.READ, answer(b"via")]) as proxy:
        async with client_of(http2=http2, proxy=f"http://user:pass@127.0.0.1:{proxy.port}") as client:
            response = await client.send(HttpRequest("POST", "http://provider.test/v1", {}, b"{}"))
            assert await response.read() == b"via"
        received = bytes(proxy.conversations[0].received)
        assert received.startswith(b"POST http://provider.test/v1 HTTP/1.1\r\n")
        assert b"proxy-authorization: basic dxnlcjpwyxnz\r\n" in received.lower()


@pytest.mark.parametrize(
    ("steps", "reason", "retryable"),
    [
        ([Do.READ_HEAD, b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n"], "proxy", False),
        ([Do.READ_HEAD, b"HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n"], "proxy", True),
        ([Do.READ_HEAD, Do.STALL], "connect", True),
        ([Do.READ_HEAD, TUNNEL, Do.FIN], "tls", True),
    ],
)
@BOTH
async def test_proxy_that_makes_no_tunnel(steps, reason, retryable, http2):
    async with ByteServer(steps) as proxy:
        address = f"http://user:hunter2@127.0.0.1:{proxy.port}"
        async with client_of(http2=http2, proxy=address, timeouts=Timeouts(connect_timeout_s=0.3)) as client:
            error = await error_of(client, "https://provider.test/v1")
            assert (error.reason, error.retryable) == (reason, retryable)
            chain = [error, error.__cause__, error.__context__]
            assert "hunter2" not in "".join(f"{e!r} {e} {vars(e) if e is not None else ''}" for e in chain)
            assert not (reason == "proxy" and "hunter2" in repr(client))


@BOTH
async def test_proxy_that_refuses_plain_requests_or_is_not_there(http2):
    async with ByteServer([Do.READ, answer(b"", 407)]) as proxy:
        async with client_of(http2=http2, proxy=f"http://127.0.0.1:{proxy.port}") as client:
            with pytest.raises(NetworkError) as caught:
                await client.send(HttpRequest("POST", "http://provider.test/v1", {}, b"{}"))
            assert (caught.value.reason, caught.value.retryable) == ("proxy", False)
        gone = proxy.port
    async with client_of(http2=http2, proxy=f"http://127.0.0.1:{gone}") as client:
        error = await error_of(client, "http://provider.test/v1")
        assert (error.reason, error.retryable) == ("proxy", True)


@BOTH
async def test_no_file_descriptors_left_and_then_some_again(http2):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with ByteServer([Do.READ, answer(b"hello")]) as server, client_of(http2=http2) as client:
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            error = await error_of(client, server.url)
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (error.reason, error.retryable, error.counts_as_circuit_failure) == ("local", True, False)
        response = await client.send(HttpRequest("POST", server.url, {}, b"{}"))
        assert await response.read() == b"hello"


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENFILE])
async def test_other_resources_of_this_machine(number, monkeypatch):
    async def no_connection(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("aiohappyeyeballs.start_connection", no_connection)
    async with client_of() as client:
        error = await error_of(client, "http://127.0.0.1:9/")
        assert (error.reason, error.retryable, error.counts_as_circuit_failure) == ("local", True, False)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"ca_file": "/nowhere/ca.pem"}, "http.ca_file"),
        ({"ca_file": __file__}, "http.ca_file"),
        ({"proxy": "http://user:hunter2@:1"}, "http.proxy"),
        ({"http2": True, "ca_file": "/nowhere/ca.pem"}, "http.ca_file"),
        ({"http2": True, "ca_file": __file__}, "http.ca_file"),
        ({"http2": True, "proxy": "http://user:hunter2@:1"}, "http.proxy"),
        ({"http2": True, "proxy": "ftp://user:hunter2@host:1"}, "http.proxy"),
    ],
)
async def test_options_that_can_not_be_met(options, place):
    with pytest.raises((ConfigError, ValueError)) as caught:
        build_client(Timeouts(), "faults/1", http=HttpConfig(**options))
    message = str(caught.value)
    assert message.startswith((place, place.removeprefix("http."))) and "\n" not in message and "hunter2" not in message


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://host/", {}),
        ("/relative", {}),
        ("http://", {}),
        ("http://user:hunter2@host/", {}),
        ("http://127.0.0.1:1/", {"authorization": "Bearer a\r\nx: hunter2"}),
    ],
)
@BOTH
async def test_request_that_can_not_be_sent(url, headers, http2):
    async with ByteServer([Do.READ, answer()]) as server, client_of(http2=http2) as client:
        with pytest.raises(BadRequest) as caught:
            await client.send(HttpRequest("POST", url.replace(":1/", f":{server.port}/"), headers, b"{}"))
        assert "hunter2" not in f"{caught.value} {caught.value.__cause__!r}"
        assert all(not c.received for c in server.conversations)


@BOTH
async def test_closed_client_says_so(http2):
    async with client_of(http2=http2) as client:
        await client.aclose()
        error = await error_of(client, "http://127.0.0.1:9/")
        assert (error.reason, error.counts_as_circuit_failure) == ("local", False)


async def test_cancelled_while_connecting_leaves_nothing():
    async with ByteServer([Do.STALL]) as server, client_of() as client:
        sending = asyncio.ensure_future(
            client.send(HttpRequest("POST", server.url.replace("http:", "https:"), {}, b"{}"))
        )
        conversation = await server.conversation()
        await asyncio.sleep(0.05)
        sending.cancel()
        await asyncio.wait([sending])
        assert await conversation.gone_within(0.1)
