"""One HTTP request of a caller and its answer, over ASGI: what is read is bounded, what is written once is final."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import new_id
from spillway.gateway.attendance import Attendance, CallerGone, Receive, Send
from spillway.gateway.heads import check_form, check_size, has_body, is_last, read_headers
from spillway.gateway.intake import check_content_type, json_object, read_body

if TYPE_CHECKING:
    from spillway.gateway.timing import Timing

__all__ = ["CallerGone", "Exchange", "Receive", "Scope", "Send"]

PIECE = 64 * 1024
"""Bytes that are sent at once: what a server holds back for a slow caller is counted in pieces."""

COMMENT = b": keep-alive\n\n"
"""A sign of life that every reader of server-sent events skips."""

JSON = b"application/json"
EVENTS = b"text/event-stream; charset=utf-8"
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_LONGEST_ID = 128

_encode = msgspec.json.Encoder().encode

Scope = MutableMapping[str, Any]


class Exchange:
    """One request and its answer.

    Attributes:
        method: in capitals.
        path: percent-decoded, below the place that the gateway is mounted at.
        headers: names in lower case; of a name that came more than once, the first.
        request_id: the caller's `x-request-id`, or ours.
        status: of the answer, 0 before its head is out.
        begun: whether the head of the answer is out; after that no other answer is possible.
        attendance: whether the caller is there; entered by who makes an answer that takes time.
        clock: the loop's.
    """

    __slots__ = (
        "_body_read",
        "_body_s",
        "_receive",
        "_scope",
        "_timing",
        "attendance",
        "begun",
        "clock",
        "extra_headers",
        "headers",
        "method",
        "path",
        "peer",
        "query",
        "repeated",
        "request_id",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, timing: Timing) -> None:
        self.method: str = scope["method"]
        self.path: str = _path_of(scope)
        self.query: bytes = scope.get("query_string", b"")
        client = scope.get("client")
        self.peer: str = client[0] if client else ""
        headers, self.repeated = read_headers(scope["headers"])
        self.headers: Mapping[str, str] = headers
        self.request_id = _named(headers.get("x-request-id")) or f"req_{new_id()}"
        self.begun = False
        self.status = 0
        self.attendance = Attendance(receive, send, timing)
        self.extra_headers: dict[str, str] = {}
        self._body_s = 0.0
        self.clock = timing.clock
        self._timing = timing
        self._receive = receive
        self._scope = scope
        self._body_read = False

    @property
    def waited_s(self) -> float:
        """Seconds spent waiting for the caller: for its body, and for it to take the answer."""
        return self._body_s + self.attendance.waited_s

    def check_head(self) -> None:
        """Return if the head leaves no doubt where the request ends and whom it is for.

        Raises:
            Unfit: it does.
        """
        scope = self._scope
        target = len(scope.get("raw_path") or self.path) + len(self.query)
        check_size(scope["headers"], target)
        check_form(self.method, scope.get("http_version", ""), self.headers, self.repeated)
        if is_last(self.headers):
            self.hang_up()

    def hang_up(self) -> None:
        """Let the connection end with the answer."""
        self.extra_headers["connection"] = "close"

    @property
    def unread(self) -> bool:
        """Whether a body follows the head that was not read to its end."""
        return not self._body_read and has_body(self.headers)

    async def body(self) -> bytes:
        """Return the whole body, decompressed.

        Raises:
            Unfit: it is too long, came too slowly, not to its end, or in a coding that is not taken.
            BadRequest: it is not what its coding says.
        """
        began = self.clock()
        try:
            body = await read_body(self._receive, self.headers, self._timing)
        finally:
            self._body_s += self.clock() - began
        self._body_read = True
        return body

    async def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object, without the fields that name an endpoint or a key.

        Raises:
            Unfit: its type is another, or as in `body`.
            BadRequest: it is none.
        """
        check_content_type(self.headers)
        return json_object(await self.body())

    async def left(self) -> None:
        """Return when the caller has left; only after the body was read, and not inside of `attendance`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.attendance.gone = True

    @property
    def gone(self) -> bool:
        """Whether the caller has left."""
        return self.attendance.gone

    async def answer(self, status: int, body: bytes, headers: Mapping[str, str], kind: bytes = JSON) -> None:
        """Send a whole answer."""
        head = self._head(status, headers, kind)
        head["headers"].append((b"content-length", b"%d" % len(body)))
        if self.method == "HEAD":
            body = b""
        if len(body) > PIECE:
            await self.attendance.put(head)
            await self.end(body)
        else:
            self.attendance.keep_alive = b""
            await self.attendance.put(head, {"type": "http.response.body", "body": body})

    async def answer_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer of JSON."""
        await self.answer(status, _encode(value), headers or {})

    async def begin_events(self, headers: Mapping[str, str], keep_alive: bytes = COMMENT) -> None:
        """Send the head of a stream of server-sent events.

        Args:
            keep_alive: what is sent after 15 s without an event, while the caller's attendance is watched.
        """
        await self.attendance.put(
            self._head(200, {**headers, "cache-control": "no-cache", "x-accel-buffering": "no"}, EVENTS)
        )
        self.attendance.keep_alive = keep_alive

    async def write(self, data: bytes) -> None:
        """Send a piece of a stream.

        Raises:
            CallerGone: the caller has left, or took nothing for 30 s.
        """
        if len(data) > PIECE:
            last = (len(data) - 1) // PIECE * PIECE
            for at in range(0, last, PIECE):
                await self.attendance.put(
                    {"type": "http.response.body", "body": data[at : at + PIECE], "more_body": True}
                )
            data = data[last:]
        await self.attendance.put({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """End the answer, with `data` as its last piece."""
        self.attendance.keep_alive = b""
        if len(data) > PIECE:
            await self.write(data)
            data = b""
        await self.attendance.put({"type": "http.response.body", "body": data})

    def _head(self, status: int, headers: Mapping[str, str], kind: bytes) -> dict[str, Any]:
        """Return the message that begins the answer; no other answer is possible from here on."""
        self.begun = True
        self.status = status
        rows = [(b"content-type", kind), _NOSNIFF, (b"x-request-id", self.request_id.encode("latin-1", "replace"))]
        if self.extra_headers:
            headers = {**self.extra_headers, **headers}
        rows += [(_name(name), value.encode("latin-1", "replace")) for name, value in headers.items()]
        return {"type": "http.response.start", "status": status, "headers": rows}

    def __repr__(self) -> str:
        return f"<Exchange {self.method} {self.path} {'begun' if self.begun else 'open'}>"


def _named(request_id: str | None) -> str | None:
    """Return the caller's own name of its request if it is one that may stand in a header and a log."""
    if request_id and len(request_id) <= _LONGEST_ID and request_id.isascii() and request_id.isprintable():
        return request_id
    return None


@lru_cache(maxsize=256)
def _name(name: str) -> bytes:
    """Return the name of a header as it is sent."""
    return name.encode("latin-1")


def _path_of(scope: Scope) -> str:
    """Return the path below the app's root, which `path` begins with by ASGI's rules and not by everybody's."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
