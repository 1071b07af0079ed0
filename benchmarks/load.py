"""Asks one address over and over from raw sockets, so that whoever answers is what is measured."""

import asyncio
import statistics
import time

BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say hello to the world."}]}'
STREAM_BODY = BODY[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
HOLD_BODY = BODY[:-1] + b',"stream":true,"user":"hold"}'
_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nauthorization: Bearer key-bench\r\n"
    b"user-agent: bench/1.0\r\naccept: application/json\r\naccept-encoding: gzip\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """One keep-alive connection; `ask` sends and waits for the whole answer."""

    def __init__(self):
        self.done = None
        self.size = 0
        self.pieces = []

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, exc):
        if self.done is not None and not self.done.done():
            self.done.set_exception(ConnectionError(f"the server hung up: {b''.join(self.pieces)[:300]}"))

    def data_received(self, data):
        if self.pieces or self.size == 0:
            self.pieces.append(data)
        if self.size == 0:
            whole = b"".join(self.pieces)
            end = whole.find(b"\r\n\r\n")
            if end < 0:
                return
            head = whole[:end].lower()
            if not whole.startswith(b"HTTP/1.1 200"):
                self.done.set_exception(RuntimeError(whole[:500].decode()))
                return
            at = head.find(b"content-length:")
            if at >= 0:
                self.size = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
            else:
                self.size = -1
        if self.size > 0:
            if sum(map(len, self.pieces)) < self.size:
                return
        elif not data.endswith(b"0\r\n\r\n"):
            return
        pieces, self.pieces, self.size = self.pieces, [], 0
        self.done.set_result(pieces)

    def leave(self):
        """Go without waiting for the answer that is under way."""
        if self.done is not None:
            self.done.cancel()
        self.transport.abort()

    def ask(self, request):
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.done


def request(port, body):
    return _HEAD % (port, len(body)) + body


async def connect(port, count):
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(count)]


async def rate(port, body, total, concurrency=64):
    """Return `(answers a second, events in the last answer)`."""
    connections = await connect(port, concurrency)
    asked = request(port, body)
    left = iter(range(total))
    events = 0

    async def one(connection):
        nonlocal events
        for _ in left:
            pieces = await connection.ask(asked)
            events = b"".join(pieces).count(b"data: ")

    start = time.perf_counter()
    await asyncio.gather(*map(one, connections))
    took = time.perf_counter() - start
    for connection in connections:
        connection.transport.abort()
    return total / took, events


async def latency_ms(port, body, total):
    """Return the median time of an answer over one connection."""
    (connection,) = await connect(port, 1)
    asked = request(port, body)
    took = []
    for _ in range(total):
        start = time.perf_counter()
        await connection.ask(asked)
        took.append(time.perf_counter() - start)
    connection.transport.abort()
    return 1000 * statistics.median(took)


async def hold(port, count):
    """Open streams that do not end; return once each has had its first content."""
    connections = await connect(port, count)
    asked = request(port, HOLD_BODY)
    for connection in connections:
        connection.done = asyncio.get_running_loop().create_future()
        connection.transport.write(asked)
    while not all(b"data: " in b"".join(connection.pieces) for connection in connections):
        await asyncio.sleep(0.1)
    return connections
