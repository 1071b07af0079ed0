"""One HTTP request of a caller and its answer, over ASGI: what is read is bounded, what is written once is final."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from spillway.core.clock import loop_clock
from spillway.core.errors import BadRequest

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a body, after decompression."""

BODY_TIMEOUT_S = 30.0
"""How long a caller may take between two pieces of a body."""

WRITE_TIMEOUT_S = 30.0
"""How long a caller may take no byte of an answer."""

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class CallerGone(Exception):
    """The caller has left; nobody is there to be answered."""


class TooLarge(Exception):
    """A body is longer than `BODY_LIMIT`."""


class Exchange:
    """One request and its answer.

    Attributes:
        method: in capitals.
        path: percent-decoded.
        headers: names in lower case; of a name that came more than once, the first.
        request_id: the caller's `x-request-id`, or ours.
        status: of the answer, 0 before its head is out.
        begun: whether the head of the answer is out; after that no other answer is possible.
        waited_s: seconds spent waiting for the caller, to send its body and to take the answer.
    """

    __slots__ = (
        "_body_read",
        "_clock",
        "_receive",
        "_send",
        "begun",
        "extra_headers",
        "gone",
        "headers",
        "method",
        "path",
        "peer",
        "query",
        "repeated",
        "request_id",
        "status",
        "waited_s",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        client = scope.get("client")
        self.peer: str = client[0] if client else ""
        headers: dict[str, str] = {}
        self.repeated: set[str] = set()
        for raw_name, raw_value in scope["headers"]:
            name = raw_name.decode("latin-1").lower()
            if name in headers:
                self.repeated.add(name)
            else:
                headers[name] = raw_value.decode("latin-1")
        self.headers: Mapping[str, str] = headers
        self.request_id = request_id
        self.begun = False
        self.status = 0
        self.gone = False
        self.extra_headers: dict[str, str] = {}
        self.waited_s = 0.0
        self._clock = loop_clock()
        self._receive = receive
        self._send = send
        self._body_read = False

    async def body(self) -> bytes:
        """Return the whole body, decompressed.

        Raises:
            TooLarge: it is longer than `BODY_LIMIT`.
            BadRequest: it came too slowly, or in a coding that is not taken.
            CallerGone: the caller left before its end.
        """
        pieces: list[bytes] = []
        size = 0
        began = self._clock()
        try:
            while True:
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    message = await self._receive()
                if message["type"] == "http.disconnect":
                    self.gone = True
                    raise CallerGone
                piece = message.get("body", b"")
                size += len(piece)
                if size > BODY_LIMIT:
                    raise TooLarge
                if piece:
                    pieces.append(piece)
                if not message.get("more_body", False):
                    break
        except TimeoutError:
            raise BadRequest("the body came too slowly", reason="slow_body") from None
        finally:
            self.waited_s += self._clock() - began
        self._body_read = True
        return _plain(b"".join(pieces), self.headers.get("content-encoding"))

    async def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            BadRequest: it is none.
        """
        raw = await self.body()
        try:
            value = _decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise BadRequest("the body is not JSON", reason="json") from None
        except RecursionError:
            raise BadRequest("the body nests too deeply", reason="json") from None
        if not isinstance(value, dict):
            raise BadRequest("the body is not a JSON object", reason="json")
        return value

    async def left(self) -> None:
        """Return when the caller has left; only after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str], kind: bytes = JSON) -> None:
        """Send a whole answer."""
        await self._begin(status, {**headers, "content-length": str(len(body))}, kind)
        await self._put({"type": "http.response.body", "body": b"" if self.method == "HEAD" else body})

    async def answer_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer of JSON."""
        await self.answer(status, _encode(value), headers or {})

    async def begin_events(self, headers: Mapping[str, str]) -> None:
        """Send the head of a stream of server-sent events."""
        await self._begin(200, {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"}, EVENTS)

    async def write(self, data: bytes) -> None:
        """Send a piece of a stream.

        Raises:
            CallerGone: the caller has left, or took nothing for `WRITE_TIMEOUT_S`.
        """
        await self._put({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """End a stream."""
        await self._put({"type": "http.response.body", "body": b""})

    async def _begin(self, status: int, headers: Mapping[str, str], kind: bytes) -> None:
        self.begun = True
        self.status = status
        rows = [(b"content-type", kind), (b"x-request-id", self.request_id.encode("latin-1", "replace"))]
        for name, value in {**self.extra_headers, **headers}.items():
            rows.append((name.encode("latin-1"), value.encode("latin-1", "replace")))
        await self._put({"type": "http.response.start", "status": status, "headers": rows})

    async def _put(self, message: MutableMapping[str, Any]) -> None:
        if self.gone:
            raise CallerGone
        began = self._clock()
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._send(message)
        except (TimeoutError, OSError):
            self.gone = True
            raise CallerGone from None
        finally:
            self.waited_s += self._clock() - began

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.path} {'begun' if self.begun else 'open'}>"


def _plain(body: bytes, coding: str | None) -> bytes:
    """Return `body` decompressed, never more than `BODY_LIMIT` of it in memory."""
    if coding is None or coding.strip().lower() in {"", "identity"}:
        return body
    if coding.strip().lower() not in {"gzip", "x-gzip"}:
        raise BadRequest("content-encoding must be gzip or identity", reason="coding")
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(body, BODY_LIMIT + 1)
    except zlib.error:
        raise BadRequest("the body is not gzip", reason="coding") from None
    if len(plain) > BODY_LIMIT:
        raise TooLarge
    if not inflate.eof:
        raise BadRequest("the gzip body is cut off", reason="coding")
    return plain
