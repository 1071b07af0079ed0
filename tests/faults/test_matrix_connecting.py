"""Faults of the connection itself, through a Cluster: nothing was sent, nothing is paid, and what can pass is repeated."""

import asyncio
import contextlib
import datetime as dt
import errno
import os
import resource
import socket
import ssl
import threading

import pytest
import trustme
from matrix import GOOD_PICO, OPENAI, PATIENCE_S, RESERVED_PICO, RETRIES, TEXT, always, check_unsent, rig

from spillway import HttpConfig, NetworkError, RetryPolicy, Timeout, Timeouts
from spillway.testing.byte_server import ByteServer, Do

PATIENT = RetryPolicy(max_retries=RETRIES, initial_backoff_s=0.1, jitter="none")


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


def good(stream):
    return [Do.READ, OPENAI.good(stream=stream)] * 3 + [Do.STALL]


@contextlib.asynccontextmanager
async def nobody_listens(script):
    """Hold a port that refuses; what is yielded opens it."""
    server = ByteServer(script)
    opened = []
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))

        async def listen():
            loop = asyncio.get_running_loop()
            server._server = await loop.create_server(server._accept, sock=held)

        try:
            yield f"http://127.0.0.1:{held.getsockname()[1]}/v1", lambda: opened.append(asyncio.ensure_future(listen()))
        finally:
            for task in opened:
                await task
                await server.__aexit__()


async def test_refused(stream):
    async with nobody_listens(good(stream)) as (url, _), rig(url=url) as here:
        _, error, _, _ = await here.ask(stream=stream)
        check_unsent(here, error, NetworkError, "connect")


async def test_refused_and_then_there(stream):
    async with nobody_listens(good(stream)) as (url, opens), rig(url=url, retry=PATIENT) as here:
        here.books.then = opens
        tokens, error, text, _ = await here.ask(stream=stream)
        assert (error, text, tokens.attempts) == (None, TEXT, 2)
        assert [r.cost_pico for r in here.books.attempts] == [0, GOOD_PICO]
        assert (here.breaker.failures, here.breaker.successes) == (1, 1)


@contextlib.contextmanager
def black_hole():
    """A listener whose backlog is full and that accepts nobody."""
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


async def test_black_hole(stream):
    with black_hole() as url:
        async with rig(url=url, timeouts=Timeouts(connect_timeout_s=0.15)) as here:
            _, error, _, elapsed = await here.ask(stream=stream)
            check_unsent(here, error, Timeout, "connect")
            assert 0.45 <= elapsed <= 0.45 + 3 * PATIENCE_S


async def test_black_hole_under_a_deadline(stream):
    with black_hole() as url:
        async with rig(url=url) as here:
            _, error, _, _ = await here.ask(stream=stream, timeout_s=0.15)
            check_unsent(here, error, Timeout, "deadline", retryable=False, attempts=1)


@pytest.fixture
def names(monkeypatch):
    """`names(step, …)`: what the system's resolver does each time, an address list or an error; the last stays."""
    real = socket.getaddrinfo

    def install(*steps):
        left = list(steps)

        def resolve(host, port, *args, **kwargs):
            if host in (None, "127.0.0.1", "::1"):
                return real(host, port, *args, **kwargs)
            step = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(step, Exception):
                raise step
            if callable(step):
                step()
                step = ["127.0.0.1"]
            return [
                (
                    socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "",
                    (a, port, 0, 0) if ":" in a else (a, port),
                )
                for a in step
            ]  # fmt: skip

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    return install


def named(server):
    return f"http://provider.test:{server.port}/v1"


@pytest.mark.parametrize(
    ("code", "retried"), [(socket.EAI_NONAME, False), (socket.EAI_NODATA, False), (socket.EAI_AGAIN, True)]
)
async def test_name_that_does_not_resolve(names, code, retried, stream):
    names(socket.gaierror(code, "no"))
    async with rig(url="http://provider.test:1/v1") as here:
        _, error, _, _ = await here.ask(stream=stream)
        check_unsent(here, error, NetworkError, "dns", retryable=retried, attempts=3 if retried else 1)
        assert "provider.test" in str(error)


async def test_name_that_resolves_the_second_time(names, stream):
    names(socket.gaierror(socket.EAI_AGAIN, "no"), ["127.0.0.1"])
    async with ByteServer(good(stream)) as server, rig(url=named(server)) as here:
        tokens, error, text, _ = await here.ask(stream=stream)
        assert (error, text, tokens.attempts) == (None, TEXT, 2)


async def test_dead_address_beside_a_live_one(names, stream):
    names(["::1", "127.0.0.1"])
    async with ByteServer(good(stream)) as server, rig(url=named(server)) as here:
        tokens, error, text, elapsed = await here.ask(stream=stream)
        assert (error, text, tokens.attempts) == (None, TEXT, 1)
        assert elapsed < 1.0 + PATIENCE_S and here.breaker.failures == 0


async def test_slow_resolver_does_not_hold_the_loop_up(names, stream):
    """The request ends while the resolver still looks; on the loop itself the resolver would have come back first."""
    may_answer = threading.Event()
    came_back = []
    names(lambda: came_back.append(may_answer.wait(10)))
    try:
        limits = Timeouts(connect_timeout_s=0.1)
        async with rig(url="http://provider.test:1/v1", timeouts=limits, retry=RetryPolicy(max_retries=0)) as here:
            _, error, _, _ = await here.ask(stream=stream)
            assert came_back == []
            check_unsent(here, error, Timeout, "connect", attempts=1)
    finally:
        may_answer.set()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def certified(authority, name="127.0.0.1", **about):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **about).configure_cert(context)
    return context


async def test_tls(authority, ca_file, stream):
    async with rig(good(stream), tls=certified(authority), http=HttpConfig(ca_file=ca_file)) as here:
        for _ in range(2):
            tokens, error, text, _ = await here.ask(stream=stream)
            assert (error, text, tokens.attempts) == (None, TEXT, 1)
        assert len(here.server.conversations) == 1


@pytest.mark.parametrize("case", ["unknown authority", "expired", "wrong name"])
async def test_certificate_that_is_not_trusted(case, authority, ca_file, stream):
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    context = {
        "unknown authority": lambda: certified(trustme.CA()),
        "expired": lambda: certified(authority, not_before=past, not_after=past + dt.timedelta(days=1)),
        "wrong name": lambda: certified(authority, "elsewhere.test"),
    }[case]()
    async with rig(good(stream), tls=context, http=HttpConfig(ca_file=ca_file)) as here:
        _, error, _, _ = await here.ask(stream=stream)
        check_unsent(here, error, NetworkError, "certificate", retryable=False, attempts=1)
        assert "127.0.0.1" in str(error)


@pytest.mark.parametrize(
    "steps",
    [[b"HTTP/1.1 400 Bad Request\r\n\r\n"], [b"\x15\x03\x03\x00\x02\x02\x28"], [Do.FIN], [Do.RST]],
    ids=["plain HTTP", "alert", "closed", "reset"],
)
async def test_no_tls_and_then_tls_of_no_worth(steps, ca_file, stream):
    async with ByteServer([0.02, *steps]) as server:
        url = server.url.replace("http:", "https:")
        async with rig(url=url, http=HttpConfig(ca_file=ca_file)) as here:
            _, error, _, _ = await here.ask(stream=stream)
            check_unsent(here, error, NetworkError, "tls")


async def test_handshake_that_stalls(ca_file, stream):
    async with ByteServer([Do.STALL]) as server:
        url = server.url.replace("http:", "https:")
        limits = Timeouts(connect_timeout_s=0.15)
        async with rig(url=url, http=HttpConfig(ca_file=ca_file), timeouts=limits) as here:
            _, error, _, _ = await here.ask(stream=stream)
            check_unsent(here, error, Timeout, "connect")


# A proxy.


async def test_proxy_of_the_options_and_none_of_the_environment(monkeypatch, stream):
    async with ByteServer([Do.STALL]) as trap:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        async with rig(good(stream)) as here:
            assert (await here.ask(stream=stream)).text == TEXT
        async with ByteServer(good(stream)) as proxy:
            options = HttpConfig(proxy=f"http://user:hunter2@127.0.0.1:{proxy.port}")
            async with rig(url="http://provider.test/v1", http=options) as here:
                assert (await here.ask(stream=stream)).text == TEXT
            assert proxy.conversations[0].received.startswith(b"POST http://provider.test/v1/chat/completions HTTP/1.1")
        assert trap.conversations == []


@pytest.mark.parametrize(
    ("steps", "reason", "retried"),
    [
        ([Do.READ_HEAD, b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n"], "proxy", False),
        ([Do.READ_HEAD, b"HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n"], "proxy", True),
        ([Do.READ_HEAD, Do.STALL], "connect", True),
        ([Do.READ_HEAD, b"HTTP/1.1 200 Connection established\r\n\r\n", Do.FIN], "tls", True),
    ],
    ids=["407", "502", "stall", "closed"],
)
async def test_proxy_that_makes_no_tunnel(steps, reason, retried, stream):
    async with ByteServer(steps) as proxy:
        options = HttpConfig(proxy=f"http://user:hunter2@127.0.0.1:{proxy.port}")
        limits = Timeouts(connect_timeout_s=0.2)
        async with rig(url="https://provider.test/v1", http=options, timeouts=limits) as here:
            _, error, _, _ = await here.ask(stream=stream)
            kind = Timeout if reason == "connect" else NetworkError
            check_unsent(here, error, kind, reason, retryable=retried, attempts=1 + RETRIES if retried else 1)
            assert "hunter2" not in f"{error!r} {error} {error.__cause__!r}"


# This machine.


async def _one_answer(stream):
    async with rig(good(stream)) as here:
        assert (await here.ask(stream=stream)).text == TEXT


async def test_no_file_descriptors_and_then_some_again(stream):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    await _one_answer(stream)  # what is loaded on first use is loaded
    async with rig(good(stream)) as here:
        await here.cluster.start()
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(64, len(os.listdir("/proc/self/fd")) + 8), hard))
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            _, error, _, _ = await here.ask(stream=stream)
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        check_unsent(here, error, NetworkError, "local", counted=False)
        assert (await here.ask(stream=stream)).text == TEXT


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENOBUFS])
async def test_other_resources_of_this_machine(number, monkeypatch, stream):
    async def no_connection(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("aiohappyeyeballs.start_connection", no_connection)
    async with rig(url="http://127.0.0.1:9/v1") as here:
        _, error, _, _ = await here.ask(stream=stream)
        check_unsent(here, error, NetworkError, "local", counted=False)


async def test_unsent_whole_answer_holds_no_more_than_one_reservation(stream):
    """Retries keep the money of the first attempt; with a budget for one request only they still go out."""
    async with nobody_listens(good(stream)) as (url, _), rig(url=url) as here:
        task = here.task(stream=stream)
        most = 0
        while not task.done():
            most = max(most, here.cluster.deployment("m").budget().snapshot().reserved_pico)
            await asyncio.sleep(0)
        assert most <= RESERVED_PICO
        check_unsent(here, (await task).error, NetworkError, "connect")


async def test_every_request_of_a_dead_server_ends(stream):
    async with rig(*always([Do.RST])) as here:
        outcomes = await asyncio.gather(*(here.ask(stream=stream) for _ in range(50)))
        assert {type(o.error) for o in outcomes} == {NetworkError}
        quota_left = 500 // 5
        assert here.metrics.retried == min(quota_left, 50 * RETRIES)
        assert here.requests == here.metrics.attempts == 50 + here.metrics.retried
