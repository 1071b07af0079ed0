"""Every fault that can strike before an answer's first content, byte by byte, and what must come of it."""

import codecs
import gzip
import json
from typing import Any, NamedTuple

from matrix import OPENAI, head, sse

from spillway import (
    BadRequest,
    ContextLengthExceeded,
    Forbidden,
    ModelNotFound,
    NetworkError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Timeout,
)
from spillway.testing.byte_server import Do, Flood, answer, chunk

WHOLE = OPENAI.whole


class Fault(NamedTuple):
    """What the server does, and what must come of it.

    `steps` are a list, or a function of whether the request is streamed. Money is `estimate` (the request was read and
    nothing says what it cost) or `none`. `only` is True for streams only, False for whole answers only.
    """

    steps: Any
    error: type
    reason: Any
    retried: bool = True
    counted: bool = True
    money: str = "estimate"
    only: bool | None = None
    short: bool = False
    status: int | None = None


def begun(*more):
    return lambda stream: [OPENAI.begun(stream=stream), *more]


def cut_json(stream):
    return head(stream=stream, more="content-length: 4000\r\n", chunks=False) + (
        OPENAI.before if stream else WHOLE[:20]
    )


def typed(body, status=200, kind="application/json", **headers):
    return [answer(body, status, {**({"content-type": kind} if kind else {}), **headers})]


def error_json(status=200, **said):
    return typed(json.dumps({"error": {"message": "no", **said}}).encode(), status)


def events(*said):
    return [answer(sse(*said), headers={"content-type": "text/event-stream"})]


def coded(body, coding):
    def steps(stream):
        kind = "text/event-stream" if stream else "application/json"
        return [answer(body(stream), headers={"content-type": kind, "content-encoding": coding})]

    return steps


def packed(stream):
    return gzip.compress(OPENAI.before if stream else WHOLE)


def bomb(stream):
    return gzip.compress(bytes(1 << 20)) * 80


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = head(stream=False)
NET, SERVER = NetworkError, ServerError
STALLS = {True: "first_byte", False: "unary"}

FAULTS = {
    # The connection.
    "closed before the status": Fault([Do.FIN], NET, "disconnect"),
    "reset before the status": Fault([Do.RST], NET, "reset"),
    "closed inside the head": Fault([OK + b"content-le", Do.FIN], NET, "disconnect"),
    "reset inside the head": Fault([OK + b"content-le", 0.02, Do.RST], NET, "reset"),
    "closed between chunks": Fault(begun(Do.FIN), NET, "incomplete"),
    "closed inside a chunk": Fault(lambda s: [head(stream=s) + b"10\r\n: abc", Do.FIN], NET, "incomplete"),
    "closed before the announced length": Fault(lambda s: [cut_json(s), Do.FIN], NET, "incomplete"),
    "reset inside the body": Fault(lambda s: [cut_json(s), 0.02, Do.RST], NET, "reset"),
    "reset between chunks": Fault(begun(0.02, Do.RST), NET, "reset"),
    # Time.
    "stall before the status": Fault([Do.STALL], Timeout, STALLS, retried=None, short=True),
    "stall inside the head": Fault([OK + b"content-ty", Do.STALL], Timeout, STALLS, retried=None, short=True),
    "stall inside the body": Fault(begun(Do.STALL), Timeout, STALLS, retried=None, short=True),
    "early hints for ever": Fault(
        [Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)], Timeout, STALLS, retried=None, short=True
    ),
    "pings for ever": Fault(
        [head(stream=True), *[0.01, chunk(b": ping\n\n")] * 200], Timeout, "first_byte", only=True, short=True
    ),
    # HTTP.
    "chunk size no number": Fault(begun(b"zz\r\nabc\r\n"), NET, "protocol"),
    "chunk size negative": Fault(begun(b"-1\r\nabc\r\n"), NET, "protocol"),
    "chunk size of 17 digits": Fault(begun(b"10000000000000003\r\nabc\r\n"), NET, "protocol"),
    "length and chunks": Fault(
        [OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"], NET, "protocol"
    ),
    "length twice": Fault([OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd"], NET, "protocol"),
    "status 999": Fault([answer(status=999)], NET, "protocol"),
    "status no number": Fault([b"HTTP/1.1 abc\r\n\r\n"], NET, "protocol"),
    "HTTP/0.9": Fault([b"<html>hello</html>\n", Do.FIN], NET, "protocol"),
    "rubbish": Fault([bytes(range(256))], NET, "protocol"),
    "header of 1 MiB": Fault([OK + b"x: " + b"y" * (1 << 20) + b"\r\n\r\n"], NET, "protocol", retried=False),
    "10,000 headers": Fault([OK + b"x: y\r\n" * 10_000 + b"\r\n"], NET, "protocol", retried=False),
    "blank before a colon": Fault([OK + b"x : y\r\ncontent-length: 0\r\n\r\n"], NET, "protocol"),
    "NUL in a header": Fault([OK + b"x: a\0b\r\ncontent-length: 0\r\n\r\n"], NET, "protocol", retried=False),
    # Statuses.
    "204": Fault([b"HTTP/1.1 204 X\r\n\r\n"], SERVER, "empty"),
    "205": Fault([b"HTTP/1.1 205 X\r\ncontent-length: 0\r\n\r\n"], SERVER, "empty"),
    "304": Fault([b"HTTP/1.1 304 X\r\n\r\n"], SERVER, "empty"),
    "200 without a body": Fault(typed(b""), SERVER, "empty"),
    "502 with a page": Fault(
        typed(b"<html><title>Bad gateway</title>" + b"x" * 4096, 502, "text/html"),
        SERVER, None, money="none", status=502,
    ),
    "503 with JSON": Fault(error_json(503), SERVER, None, money="none", status=503),
    "503 empty": Fault(typed(b"", 503), SERVER, None, money="none", status=503),
    "500": Fault(error_json(500), SERVER, None, money="none", status=500),
    "504": Fault(error_json(504), SERVER, None, money="none", status=504),
    "529": Fault(error_json(529), SERVER, None, money="none", status=529),
    "408": Fault(error_json(408), Timeout, "provider", money="none", status=408),
    "429": Fault(error_json(429), RateLimited, None, counted=False, money="none", status=429),
    "429 for want of money": Fault(
        error_json(429, code="insufficient_quota"), QuotaExhausted, None, False, False, "none", status=429
    ),
    "400": Fault(error_json(400), BadRequest, None, False, False, "none", status=400),
    "402": Fault(error_json(402), QuotaExhausted, None, False, False, "none", status=402),
    "403": Fault(error_json(403), Forbidden, None, False, False, "none", status=403),
    "404": Fault(error_json(404), ModelNotFound, None, False, False, "none", status=404),
    "409": Fault(error_json(409), BadRequest, None, False, False, "none", status=409),
    "413": Fault(error_json(413), BadRequest, None, False, False, "none", status=413),
    "422": Fault(error_json(422), BadRequest, None, False, False, "none", status=422),
    "301 elsewhere": Fault(typed(b"", 301, location="http://127.0.0.1:1/"), SERVER, "redirect", False, money="none"),
    "302 to itself": Fault(typed(b"", 302, location="/v1/chat/completions"), SERVER, "redirect", False, money="none"),
    "303 without a place": Fault(typed(b"", 303), SERVER, "redirect", False, money="none"),
    "307 to a file": Fault(typed(b"", 307, location="file:///etc/passwd"), SERVER, "redirect", False, money="none"),
    "308 elsewhere": Fault(typed(b"", 308, location="https://evil.test/"), SERVER, "redirect", False, money="none"),
    # Errors in a 200.
    "200 with a server error": Fault(error_json(type="server_error"), SERVER, None, money="none", status=500),
    "200 with a rate limit": Fault(
        error_json(code="rate_limit_exceeded"), RateLimited, None, counted=False, money="none", status=429
    ),
    "200 with an empty purse": Fault(
        error_json(code="insufficient_quota"), QuotaExhausted, None, False, False, "none", status=429
    ),
    "200 with too long a prompt": Fault(
        error_json(code="context_length_exceeded"), ContextLengthExceeded, None, False, False, "none", status=400
    ),
    "200 with an error that says nothing": Fault(error_json(), SERVER, None, money="none", status=500),
    "error event first": Fault(
        events({"error": {"type": "server_error", "message": "no"}}), SERVER, None, money="none", only=True, status=500
    ),
    "rate limit event first": Fault(
        events({"error": {"code": "rate_limit_exceeded", "message": "no"}}),
        RateLimited, None, counted=False, money="none", only=True, status=429,
    ),
    "bare error instead of events": Fault(
        [answer(b'{"error": {"type": "server_error"}}', headers={"content-type": "text/event-stream"})],
        SERVER, None, money="none", only=True, status=500,
    ),
    # Bodies.
    "a page": Fault(typed(b"<html>hello</html>", kind="text/html"), SERVER, "content_type"),
    "a page of no type": Fault(typed(b"<html>hello</html>", kind=None), SERVER, "malformed"),
    "JSON cut off": Fault(typed(WHOLE[:-20]), SERVER, "malformed"),
    "two documents": Fault(typed(WHOLE + WHOLE), SERVER, "malformed"),
    "a byte order mark": Fault(typed(codecs.BOM_UTF8 + WHOLE), SERVER, "malformed"),
    "UTF-16": Fault(typed(WHOLE.decode().encode("utf-16")), SERVER, "malformed"),
    "invalid UTF-8": Fault(typed(WHOLE.replace(b"hello", b"\xff\xfe")), SERVER, "malformed"),
    "nesting without end": Fault(typed(b'{"x":' * 100_000), SERVER, "malformed"),
    "no choices": Fault(typed(b'{"id": "c1", "choices": []}'), SERVER, "schema"),
    "null content": Fault(
        typed(WHOLE.replace(b'"hello world"', b"null")), SERVER, "schema"
    ),
    "wrong types": Fault(typed(WHOLE.replace(b'"hello world"', b"[[1]]")), SERVER, "schema"),
    "events for a whole answer": Fault(events(b"[DONE]"), SERVER, "content_type", only=False),
    "a stream of nothing": Fault(events(), NET, "incomplete", only=True),
    "a stream of its end only": Fault(events(b"[DONE]"), SERVER, "empty", only=True),
    "a stream without its end": Fault(
        [answer(OPENAI.before, headers={"content-type": "text/event-stream"})], NET, "incomplete", only=True
    ),
    "an event that is no JSON": Fault(events(b"{oops"), SERVER, "malformed", only=True),
    "an event of 16 MiB and more": Fault(
        [head(stream=True) + chunk(b"data: "), Flood(chunk(b"x" * (1 << 20)))], SERVER, "event_too_large", False, only=True
    ),
    "a body of 64 MiB and more": Fault(
        [CHUNKED, Flood(chunk(b" " * (1 << 20)))], SERVER, "too_large", False, only=False
    ),
    # Codings.
    "gzip cut off": Fault(coded(lambda s: packed(s)[:-9], "gzip"), SERVER, "decode"),
    "gzip with a bad checksum": Fault(coded(lambda s: packed(s)[:-8] + b"12345678", "gzip"), SERVER, "decode"),
    "no gzip at all": Fault(coded(lambda s: b"plain", "gzip"), SERVER, "decode"),
    "br": Fault(coded(lambda s: b"whatever", "br"), SERVER, "decode"),
    "a chain of six": Fault(coded(packed, ", ".join(["gzip"] * 6)), SERVER, "decode"),
    "a gzip bomb": Fault(coded(bomb, "gzip"), SERVER, "too_large", False, only=False),
    "a gzip bomb of an event": Fault(
        coded(lambda s: gzip.compress(b"data: ") + gzip.compress(bytes(1 << 20)) * 20, "gzip"), SERVER, "event_too_large", False, only=True
    ),
}  # fmt: skip


def steps_of(fault, stream):
    return fault.steps(stream) if callable(fault.steps) else fault.steps
