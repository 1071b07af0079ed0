"""The least a gateway can do, as a reference: granian, aiohttp, and every body parsed and serialised.

`python forwarder.py PORT UPSTREAM_URL asyncio|uvloop`
"""

import asyncio
import sys

import aiohttp
import msgspec
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

encode = msgspec.json.encode
decode = msgspec.json.decode
HEADERS = {"authorization": "Bearer sk-bench", "content-type": "application/json"}


class Forwarder:
    def __init__(self, url):
        self.url = f"{url}/chat/completions"

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = decode(body)
        async with self.session.post(self.url, data=encode(asked), headers=HEADERS) as response:
            if asked.get("stream"):
                await self.stream(response, send)
                return
            answer = encode(decode(await response.read()))
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": answer})

    async def stream(self, response, send):
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        rest = b""
        async for piece in response.content.iter_any():
            *events, rest = (rest + piece).split(b"\n\n")
            out = [
                b"data: " + (encode(decode(event[6:])) if event[6:] != b"[DONE]" else b"[DONE]") + b"\n\n"
                for event in events
            ]
            await send({"type": "http.response.body", "body": b"".join(out), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def serve(self, port):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as self.session:
            server = Server(
                self,
                "127.0.0.1",
                port,
                interface=Interfaces.ASGINL,
                http=HTTPModes.http1,
                websockets=False,
                backlog=1024,
                log_enabled=False,
            )
            await server.serve()


if __name__ == "__main__":
    factory = asyncio.new_event_loop
    if sys.argv[3] == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(Forwarder(sys.argv[2]).serve(int(sys.argv[1])))
