"""A loopback provider that costs next to nothing: fixed answers from a raw protocol, so that the client is what is measured.

`python server.py` prints its port. A body with `"stream":true` is answered with 200 events, one write each, and one whose user is `hold` never to its end.
"""

import asyncio
import os
import sys

import msgspec

EVENTS = 200

_USAGE = {"prompt_tokens": 12, "completion_tokens": 200, "total_tokens": 212}
_UNARY = msgspec.json.encode(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1790000000,
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "logprobs": None,
                "message": {"role": "assistant", "refusal": None, "content": "word " * 40},
            }
        ],
        "usage": _USAGE,
    }
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: %d\r\n\r\n"
UNARY = _HEAD % len(_UNARY) + _UNARY


def _event(delta, finish=None, usage=None):
    choices = [] if usage else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    data = msgspec.json.encode(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion.chunk",
            "created": 1790000000,
            "model": "gpt-4o-mini",
            "choices": choices,
            "usage": usage,
        }
    )
    frame = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(frame), frame)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
FRAMES = [_event({"role": "assistant", "content": ""})]
FRAMES += [_event({"content": f"word{i} "}) for i in range(EVENTS - 3)]
FRAMES += [_event({}, "stop"), _event({}, usage=_USAGE)]
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Provider(asyncio.Protocol):
    """Parses just enough of HTTP/1.1 to answer one POST after the other."""

    def connection_made(self, transport):
        self.transport = transport
        self.buffer = b""

    def data_received(self, data):
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = (
                int(head[at + 15 : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None]) if at >= 0 else 0
            )
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            if b'"user":"hold"' in body:
                self.transport.write(STREAM_HEAD)
                for frame in FRAMES[:10]:
                    self.transport.write(frame)
            elif b'"stream":true' in body:
                self.transport.write(STREAM_HEAD)
                for frame in FRAMES:
                    self.transport.write(frame)
                self.transport.write(DONE)
            else:
                self.transport.write(UNARY)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    try:
        import uvloop

        uvloop.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
