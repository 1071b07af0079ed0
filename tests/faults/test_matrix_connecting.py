"""Faults of the connection itself, through a Cluster: nothing was sent, nothing is paid, and what can pass is repeated."""

import asyncio
import contextlib
import datetime as dt
import errno
import os
import resource
import socket
import ssl

import pytest
import trustme
from matrix import GOOD_PICO, OPENAI, PATIENCE_S, RESERVED_PICO, RETRIES, TEXT, always, rig

from spillway import BadRequest, HttpConfig, NetworkError, RetryPolicy, Timeout, Timeouts
from spillway.testing.byte_server import ByteServer, Do, answer

PATIENT = RetryPolicy(max_retries=RETRIES, initial_backoff_s=0.1, jitter="none")


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


def good(stream):
    return [Do.READ, OPENAI.good(stream=stream)] * 3 + [Do.STALL]


def check_unsent(here, error, kind, reason, *, retryable=True, counted=True, attempts=1 + RETRIES):
    """It failed before anything was sent: nothing is paid, the provider's limits are given back."""
    assert (type(error), error.reason, error.retryable) == (kind, reason, retryable), repr(error)
    assert error.counts_as_circuit_failure is counted
    assert (error.sent, error.attempts, len(here.books.attempts)) == (False, attempts, attempts)
    assert {(r.usage, r.cost_pico, r.estimated) for r in here.books.attempts} == {(None, 0, False)}
    assert here.cluster.deployment("m").rate_limiter().snapshot().requests.used == 0
    breaker = here.breaker
    assert (breaker.failures, breaker.released) == ((attempts, 0) if counted else (0, attempts))


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
    import time

    names(lambda: time.sleep(0.6))
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    async with rig(url="http://provider.test:1/v1", timeouts=Timeouts(connect_timeout_s=0.1)) as here:
        _, error, _, elapsed = await here.ask(stream=stream)
        check_unsent(here, error, Timeout, "connect")
        assert ticks > 10
    ticking.cancel()
    await asyncio.wait([ticking])


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


# A connection that was used before.


@pytest.mark.parametrize("end", [Do.FIN, Do.RST])
async def test_stale_connection_is_no_attempt(end, stream):
    fine = OPENAI.good(stream=stream)
    async with rig([Do.READ, fine, Do.READ, end], [Do.READ, fine, Do.STALL]) as here:
        for _ in range(2):
            tokens, error, text, _ = await here.ask(stream=stream)
            assert (error, text, tokens.attempts) == (None, TEXT, 1)
        assert (here.requests, len(here.server.conversations), here.metrics.attempts) == (3, 2, 2)
        assert (here.breaker.failures, here.metrics.retried) == (0, 0)
        assert round(here.metrics.cost_usd * 1e12) == 2 * GOOD_PICO


async def test_connection_that_was_closed_while_idle_is_no_attempt(stream):
    fine = OPENAI.good(stream=stream)
    async with rig([Do.READ, fine, 0.02, Do.FIN], [Do.READ, fine, Do.STALL]) as here:
        for _ in range(2):
            tokens, error, _, _ = await here.ask(stream=stream)
            assert error is None and tokens.attempts == 1
            await asyncio.sleep(0.06)
        assert here.metrics.attempts == 2


async def test_stale_twice_is_an_attempt(stream):
    fine = OPENAI.good(stream=stream)
    async with rig([Do.READ, fine, Do.READ, Do.FIN], [Do.READ, Do.FIN], [Do.READ, fine, Do.STALL]) as here:
        assert (await here.ask(stream=stream)).tokens.attempts == 1
        tokens, error, text, _ = await here.ask(stream=stream)
        assert (error, text, tokens.attempts, here.requests) == (None, TEXT, 2, 4)
        assert here.breaker.failures == 1


# Inside the request.

BIG = "x" * (16 << 20)


@pytest.mark.parametrize("end", [Do.RST, Do.FIN])
async def test_server_that_stops_reading_inside_the_request(end, stream):
    scripts = [[Do.READ_HEAD, Do.DEAF, 0.02, end]] * 3
    async with rig(*scripts) as here:
        _, error, _, _ = await here.ask(stream=stream, prompt=BIG)
        assert (type(error), error.reason) in {(NetworkError, "reset"), (NetworkError, "disconnect")}
        check_unsent(here, error, NetworkError, error.reason)


async def test_server_that_never_reads_the_request(stream):
    """The limit of the phase ends it; a whole answer that timed out before it was asked for may be asked for again."""
    limits = Timeouts(unary_timeout_s=0.3, first_byte_timeout_s=0.3)
    async with rig([Do.READ_HEAD, Do.DEAF, 2.0], timeouts=limits) as here:
        _, error, _, _ = await here.ask(stream=stream, prompt=BIG)
        check_unsent(here, error, Timeout, "first_byte" if stream else "unary")


async def test_early_refusal_wins_over_the_connection(stream):
    too_big = answer(b'{"error": {"message": "too big"}}', 413, {"content-type": "application/json"})
    for end in (Do.STALL, Do.FIN, Do.RST):
        async with rig([Do.READ_HEAD, Do.DEAF, too_big, 0.05, end]) as here:
            _, error, _, _ = await here.ask(stream=stream, prompt=BIG)
            assert (type(error), error.status, error.message) == (BadRequest, 413, "too big")
            assert error.attempts == 1 and here.metrics.cost_usd == 0
            assert here.breaker.released == 1


async def test_early_answer_wins_over_a_server_that_reads_on(stream):
    async with rig([Do.READ_HEAD, OPENAI.good(stream=stream), Do.STALL], good(stream)) as here:
        tokens, error, text, _ = await here.ask(stream=stream, prompt=BIG)
        assert (error, text, tokens.attempts) == (None, TEXT, 1)
        assert round(here.metrics.cost_usd * 1e12) == GOOD_PICO
        assert (await here.ask(stream=stream)).text == TEXT


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
