"""Callers who send slowly, take slowly, or only hold connections: they are cut, and others are served meanwhile."""

import asyncio
import json
import os
import socket
import statistics
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "safety"))

from safety_rig import BEARER, CHAT, KEY, Served, Upstream, said

HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n".encode()


@pytest.fixture(scope="module", autouse=True)
def upstream():
    with Upstream() as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def served(upstream, tmp_path_factory):
    with Served(tmp_path_factory.mktemp("served"), upstream.url) as one:
        yield one


async def until_closed(port, first=b"", drip=b"", every_s=1.0, patience_s=60.0):
    """Send `first`, then `drip` again and again; return after how many seconds the gateway closed, and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()

    async def dripping():
        while True:
            await asyncio.sleep(every_s)
            writer.write(drip)

    try:
        writer.write(first)
        task = asyncio.create_task(dripping())
        try:
            said_back = await asyncio.wait_for(reader.read(), patience_s)
        except ConnectionError:
            said_back = b""
        return time.monotonic() - began, said_back
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_who_sends_no_head_is_cut_after_10_s(served):
    request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
    ways = {
        "silent": (b"", b""),
        "a part of a line": (b"GET /v1", b""),
        "a byte a second": (b"GET /v1/models HTTP/1.1\r\nx: ", b"x"),
        "a header a second": (b"GET /v1/models HTTP/1.1\r\n", b"x: y\r\n"),
        "idle after an answer": (request, b""),
        "a part of a second request": (request + b"GET ", b""),
    }
    cut = await asyncio.gather(*(until_closed(served.port, *way) for way in ways.values()))
    for name, (after, _) in zip(ways, cut, strict=True):
        assert 9 <= after <= 12, (name, after)


@pytest.mark.long
async def test_who_sends_a_body_slowly_is_cut_after_30_s(served):
    head = HEAD + b"Content-Length: 1000000\r\n\r\n"
    cut = await asyncio.gather(
        until_closed(served.port, head),
        until_closed(served.port, head, b"x"),
        until_closed(served.port, head, b"x", 29.0, 90.0),
    )
    for after, said_back in cut:
        assert 29 <= after <= 33
        assert said_back.startswith(b"HTTP/1.1 408 ")


@pytest.mark.long
async def test_who_takes_nothing_of_a_stream_is_cut_after_30_s_and_the_provider_too(served, upstream):
    body = json.dumps(said("endless", stream=True)).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    # What the first stream of all makes the process allocate is not what a slow caller costs.
    with served.connect() as sock:
        sock.sendall(request)
        taken = 0
        while taken < 20 * 2**20:
            taken += len(sock.recv(2**20))
    await asyncio.sleep(1)
    before = memory(served)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", served.port))
        sock.sendall(request)
        began = time.monotonic()
        await asyncio.sleep(5)
        held = memory(served) - before
        poured = upstream.poured[-1]["bytes"]
        await asyncio.sleep(2)
        assert upstream.poured[-1]["bytes"] == poured, "the gateway reads on"
        print(f"held {held / 2**20:.2f} MiB, poured {poured / 2**20:.2f} MiB")
        assert held <= 2**20
        while not upstream.poured[-1]["over"]:
            assert time.monotonic() - began < 45
            await asyncio.sleep(0.2)
        assert 28 <= time.monotonic() - began <= 38


def memory(served):
    text = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


async def good_traffic(port, seconds, per_s=50):
    """Ask so many a second, each over a connection of its own; return the times in order."""
    body = json.dumps(said()).encode()
    request = HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    async def ask():
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
        return time.perf_counter() - began

    asked = []
    for _ in range(int(seconds * per_s)):
        asked.append(asyncio.create_task(ask()))
        await asyncio.sleep(1 / per_s)
    return sorted(await asyncio.gather(*asked))


def p99(times):
    return times[int(len(times) * 0.99) - 1]


async def attacked(served, count, seconds):
    """The times of good traffic alone, and beside so many slow callers of three kinds."""
    await good_traffic(served.port, 1)
    alone = await good_traffic(served.port, seconds)
    kinds = (
        (b"POST / HTTP/1.1\r\nx: ", b"x", 5.0),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"x", 1.0),
        (HEAD + b"Content-Length: 100000\r\nExpect: 100-continue\r\n\r\n", b"", 5.0),
    )
    slow = [asyncio.create_task(until_closed(served.port, *kinds[n % 3])) for n in range(count)]
    try:
        await asyncio.sleep(1)
        beside = await good_traffic(served.port, seconds)
    finally:
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    print(
        f"{count} slow: p50 {statistics.median(alone):.4f} -> {statistics.median(beside):.4f}, p99 {p99(alone):.4f} -> {p99(beside):.4f}"
    )
    return alone, beside


async def test_slow_callers_leave_the_others_their_speed(served):
    """A slow caller takes seconds for what it sends: whoever stood behind one would wait for as long."""
    alone, beside = await attacked(served, 100, 3)
    assert statistics.median(beside) <= max(2 * statistics.median(alone), 0.05)
    assert beside[-1] < 1.0


@pytest.mark.long
async def test_five_hundred_slow_callers_leave_the_others_their_speed(served):
    alone, beside = await attacked(served, 500, 12)
    assert p99(beside) <= max(2 * p99(alone), 0.05)


@pytest.mark.parametrize("nofile", [256, pytest.param(1024, marks=pytest.mark.long)])
async def test_a_flood_of_idle_connections_crashes_nothing(upstream, tmp_path, nofile):
    """More connections than descriptors: the gateway lives, and serves as before when they are over."""
    with Served(tmp_path, upstream.url, through=["prlimit", f"--nofile={nofile}"]) as served:
        flood = []
        try:
            for _ in range(nofile * 2 if nofile < 1024 else 10_000):
                one = socket.socket()
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", served.port))
                flood.append(one)
            await asyncio.sleep(2)
            assert served.process.poll() is None
            assert len(os.listdir(f"/proc/{served.process.pid}/fd")) < nofile * 0.75
        finally:
            for one in flood:
                one.close()
        until = time.monotonic() + 60
        while served.ask("POST", CHAT, BEARER, said(), patience_s=5).status != 200:
            assert time.monotonic() < until
        assert served.ask("POST", CHAT, BEARER, said()).status == 200
        assert len(os.listdir(f"/proc/{served.process.pid}/fd")) < 100


@pytest.mark.long
async def test_ten_thousand_idle_connections_are_held_and_let_go(served):
    flood = []
    try:
        for _ in range(8_000):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", served.port))
            flood.append(one)
        await asyncio.sleep(4)
        assert p99(await good_traffic(served.port, 3)) < 0.2
        await asyncio.sleep(12)
        assert len(os.listdir(f"/proc/{served.process.pid}/fd")) < 200
    finally:
        for one in flood:
            one.close()
