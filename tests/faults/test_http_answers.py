"""What a server can do to an answer, byte by byte, and what the caller of the HTTP client sees of it."""

import asyncio
import gzip
import tracemalloc
import zlib
from contextlib import asynccontextmanager

import pytest

from spillway.core.errors import InferenceError, NetworkError, ServerError
from spillway.core.options import Timeouts
from spillway.remote.http import HttpRequest, build_client
from spillway.testing.byte_server import ByteServer, Do, Flood, Sliced, answer, chunk, chunked

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@asynccontextmanager
async def serving(*scripts, tls=None):
    client = build_client(Timeouts(connect_timeout_s=1.0), "faults/1")
    try:
        async with asyncio.timeout(10), ByteServer(*scripts, tls=tls) as server:
            yield client, server
    finally:
        await client.aclose()


async def post(client, server, body=b"{}"):
    return await client.send(HttpRequest("POST", server.url, {"content-type": "application/json"}, body))


async def fetch(client, server, *, stream):
    response = await post(client, server)
    if not stream:
        return response.status, await response.read()
    pieces = []
    while piece := await response.read_some():
        pieces.append(piece)
    return response.status, b"".join(pieces)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


BROKEN = {
    "closed before the status": ([Do.FIN], "disconnect", True),
    "reset before the status": ([Do.RST], "reset", True),
    "closed inside the head": ([OK + b"content-le", Do.FIN], "disconnect", True),
    "reset inside the head": ([OK + b"content-le", 0.02, Do.RST], "reset", True),
    "closed inside a chunk": ([CHUNKED + b"10\r\nabc", Do.FIN], "incomplete", True),
    "closed between chunks": ([CHUNKED + chunk(b"abc"), Do.FIN], "incomplete", True),
    "closed before the last line": ([CHUNKED + chunk(b"abc") + b"0\r\n", Do.FIN], "incomplete", True),
    "closed before the announced length": ([answer(b"abc")[:-1], Do.FIN], "incomplete", True),
    "reset inside the body": ([answer(b"abc")[:-1], 0.02, Do.RST], "reset", True),
    "reset between chunks": ([CHUNKED + chunk(b"abc"), 0.02, Do.RST], "reset", True),
    "chunk size no number": ([CHUNKED + b"zz\r\nabc\r\n"], "protocol", True),
    "chunk size no number, later": ([CHUNKED, 0.02, b"zz\r\nabc\r\n"], "protocol", True),
    "chunk size negative": ([CHUNKED, 0.02, b"-1\r\nabc\r\n"], "protocol", True),
    "chunk size of 17 digits": ([CHUNKED, 0.02, b"10000000000000003\r\nabc\r\n"], "protocol", True),
    "chunk longer than its size": ([CHUNKED + b"2\r\nabcd\r\n"], "protocol", True),
    "length and chunks": ([OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"], "protocol", True),
    "chunks and length": ([OK + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n"], "protocol", True),
    "length twice": ([OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"], "protocol", True),
    "length negative": ([OK + b"content-length: -3\r\n\r\nabcd"], "protocol", True),
    "status 999": ([answer(status=999)], "protocol", True),
    "status 000": ([b"HTTP/1.1 000 X\r\n\r\n"], "protocol", True),
    "status 101": ([b"HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], "protocol", True),
    "status no number": ([b"HTTP/1.1 abc\r\n\r\n"], "protocol", True),
    "HTTP/0.9": ([b"<html>hello</html>\n", Do.FIN], "protocol", True),
    "rubbish": ([bytes(range(256))], "protocol", True),
    "TLS on a plain port": ([b"\x15\x03\x03\x00\x02\x02\x46"], "protocol", True),
    "header of 1 MiB": ([OK + b"x: " + b"y" * (1 << 20) + b"\r\n\r\n"], "protocol", False),
    "endless header": ([OK + b"x: ", Flood(b"y" * 4096)], "protocol", False),
    "10,000 headers": ([OK + b"x: y\r\n" * 10_000 + b"\r\n"], "protocol", False),
    "NUL in a header": ([OK + b"x: a\0b\r\ncontent-length: 0\r\n\r\n"], "protocol", False),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_broken_answer(case, stream):
    steps, reason, retryable = BROKEN[case]
    async with serving([Do.READ, *steps, Do.STALL]) as (client, server):
        with pytest.raises(NetworkError) as caught:
            await fetch(client, server, stream=stream)
        error = caught.value
        assert (error.reason, error.retryable, error.counts_as_circuit_failure) == (reason, retryable, True)
        assert error.sent
        assert await server.conversations[0].gone_within(0.1)
        assert len(server.conversations) == 1


GOOD = {
    "with content-length": [answer(b"hello")],
    "in chunks": [chunked(b"he", b"llo")],
    "with chunk extensions and trailers": [CHUNKED + b"5;a=b\r\nhello\r\n0\r\nx-trailer: y\r\n\r\n"],
    "byte by byte": [Sliced(chunked(b"he", b"llo"))],
    "HTTP/1.0 until the end": [b"HTTP/1.0 200 OK\r\n\r\nhello", Do.FIN],
    "HTTP/1.1 until the end": [OK + b"\r\nhello", Do.FIN],
    "connection: close": [answer(b"hello", headers={"connection": "close"}), Do.FIN],
    "keep-alive: max=1": [answer(b"hello", headers={"keep-alive": "max=1"}), Do.FIN],
    "after one 100": [b"HTTP/1.1 100 Continue\r\n\r\n", 0.01, answer(b"hello")],
    "after each of 100, 102, 103": [b"".join(b"HTTP/1.1 %d X\r\n\r\n" % n for n in (100, 102, 103)) + answer(b"hello")],
    "after 10,000 early hints": [b"HTTP/1.1 103 Early Hints\r\nlink: <x>\r\n\r\n" * 10_000 + answer(b"hello")],
    "with rubbish after it": [answer(b"hello") + bytes(range(256))],
    "with another answer after it": [answer(b"hello") + answer(b"not yours")],
    "closed late": [answer(b"hello"), 0.05, Do.FIN],
}


@pytest.mark.parametrize("case", GOOD)
async def test_unusual_but_whole_answer(case, stream):
    async with serving([Do.READ, *GOOD[case]] * 3) as (client, server):
        for _ in range(3):
            assert await fetch(client, server, stream=stream) == (200, b"hello")
            await asyncio.sleep(0.01)


async def test_server_that_speaks_first_is_not_reconnected_to_for_ever():
    async with serving([answer(b"hello"), 0.05, Do.FIN]) as (client, server):
        await asyncio.sleep(0.01)
        assert await fetch(client, server, stream=False) == (200, b"hello")
        assert len(server.conversations) == 1


async def test_endless_early_hints_end_with_the_callers_patience():
    async with serving([Do.READ, Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)]) as (client, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await post(client, server)
        assert await server.conversations[0].gone_within(0.2)


async def test_endless_body_without_a_line_is_cut_at_the_limit():
    async with serving([Do.READ, CHUNKED, Flood(chunk(b"x" * 65536))]) as (client, server):
        response = await post(client, server)
        with pytest.raises(ServerError) as caught:
            await response.read(1 << 22)
        assert (caught.value.reason, caught.value.retryable) == ("too_large", False)
        assert await server.conversations[0].gone_within(0.2)


async def test_answer_before_the_request_is_whole_and_the_peer_reads_on():
    async with serving([Do.READ_HEAD, answer(b"early"), Do.STALL], [Do.READ, answer(b"next")]) as (client, server):
        response = await post(client, server, bytes(1 << 25))
        assert await response.read() == b"early"
        conversation = server.conversations[0]
        if len(conversation.requests) == 0:
            assert await conversation.gone_within(0.5)
        assert await (await post(client, server)).read() in (b"next", b"early")


async def test_status_and_body_of_a_refusal_are_the_callers():
    async with serving([Do.READ, answer(b'{"error":{}}', 429, {"Retry-After": "7"})]) as (client, server):
        response = await post(client, server)
        assert (response.status, response.headers["retry-after"]) == (429, "7")
        assert await response.read() == b'{"error":{}}'


@pytest.mark.parametrize("status", [200, 204, 205, 304])
async def test_empty_answer_keeps_the_connection(status):
    script = [Do.READ, b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status] * 3
    async with serving(script) as (client, server):
        for _ in range(3):
            assert await fetch(client, server, stream=False) == (status, b"")
        assert len(server.conversations) == 1


TEXT = b"".join(b"%d bottles of beer\n" % n for n in range(20_000))


def coded(body, coding):
    return answer(body, headers={"content-encoding": coding})


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


DECODABLE = {
    "gzip": coded(gzip.compress(TEXT), "gzip"),
    "x-gzip, in capitals": coded(gzip.compress(TEXT), " X-GZIP "),
    "gzip of two members": coded(gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:]), "gzip"),
    "deflate in zlib": coded(zlib.compress(TEXT), "deflate"),
    "deflate raw": coded(raw_deflate(TEXT), "deflate"),
    "identity": coded(TEXT, "identity"),
}


@pytest.mark.parametrize("case", DECODABLE)
async def test_coding_that_was_not_asked_for_is_decoded(case, stream):
    async with serving([Do.READ, DECODABLE[case]], [Do.READ, Sliced(DECODABLE[case], size=1000)]) as (client, server):
        assert await fetch(client, server, stream=stream) == (200, TEXT)
        sent = bytes(server.conversations[0].received).lower()
        assert b"\r\naccept-encoding: identity\r\n" in sent


UNDECODABLE = {
    "truncated gzip": coded(gzip.compress(TEXT)[:-9], "gzip"),
    "gzip with a bad checksum": coded(gzip.compress(TEXT)[:-8] + b"12345678", "gzip"),
    "not gzip at all": coded(b'{"a": 1}', "gzip"),
    "rubbish after deflate": coded(zlib.compress(TEXT) + b"more", "deflate"),
    "br": coded(b"whatever", "br"),
    "zstd": coded(b"whatever", "zstd"),
    "a chain of six": coded(b"whatever", ", ".join(["gzip"] * 6)),
}


@pytest.mark.parametrize("case", UNDECODABLE)
async def test_undecodable_answer(case, stream):
    async with serving([Do.READ, UNDECODABLE[case], Do.STALL]) as (client, server):
        with pytest.raises(ServerError) as caught:
            await fetch(client, server, stream=stream)
        assert (caught.value.reason, caught.value.retryable) == ("decode", True)


async def test_cut_connection_inside_gzip_is_a_cut_connection(stream):
    async with serving([Do.READ, coded(gzip.compress(TEXT), "gzip")[:-50], Do.FIN]) as (client, server):
        with pytest.raises(NetworkError) as caught:
            await fetch(client, server, stream=stream)
        assert caught.value.reason == "incomplete"


async def test_gzip_bomb_is_refused_in_small_steps():
    packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    async with serving([Do.READ, coded(bomb, "gzip"), Do.STALL]) as (client, server):
        response = await post(client, server)
        tracemalloc.start()
        try:
            pieces = [await response.read_some() for _ in range(20)]
            assert max(map(len, pieces)) <= 1 << 20
            del pieces
            _, peak = tracemalloc.get_traced_memory()
            with pytest.raises(ServerError) as caught:
                await response.read(8 << 20)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (caught.value.reason, caught.value.retryable) == ("too_large", False)
        assert peak < 24 << 20


async def test_errors_tell_nothing_of_the_request():
    key = "sk-very-secret"
    async with serving([Do.READ, b"HTTP/1.1 abc\r\n\r\n"]) as (client, server):
        with pytest.raises(InferenceError) as caught:
            await client.send(HttpRequest("POST", server.url, {"authorization": f"Bearer {key}"}, b"{}"))
        error = caught.value
        chain = [error, error.__cause__, error.__context__]
        assert key not in "".join(f"{e!r} {e} {vars(e) if e is not None else ''}" for e in chain)
