"""Bytes on a raw connection that two readers could cut into different requests (names after llhttp's test/request).

What granian's parser refuses itself, it refuses with 400 and no body; what it lets through the app refuses. Never is a
second request answered where the end of the first is in doubt.
"""

import json

import pytest
from safety_rig import ADMIN_KEY, CHAT, KEY, answers, drained, said

HOST = b"Host: localhost\r\n"
AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"
BODY = json.dumps(said()).encode()
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
SECOND = b"GET /v1/models HTTP/1.1\r\n" + HOST + AUTH + b"\r\n"


def post(*lines, body=b"", host=HOST, first=b"POST /v1/chat/completions HTTP/1.1\r\n"):
    return first + host + AUTH + b"Content-Type: application/json\r\n" + b"".join(lines) + b"\r\n" + body


def get(target=b"/v1/models", version=b"HTTP/1.1", method=b"GET", host=HOST, lines=b""):
    return method + b" " + target + b" " + version + b"\r\n" + host + AUTH + lines + b"\r\n"


def te(value, body=CHUNKS):
    return post(b"Transfer-Encoding: " + value + b"\r\n", body=body)


def cl(value, body=BODY):
    return post(b"Content-Length: " + value + b"\r\n", body=body)


def chunks(first_line, end=b"0\r\n\r\n"):
    return post(CHUNKED, body=first_line + b"\r\n" + BODY + b"\r\n" + end)


SIZE = b"%x" % len(BODY)
REFUSED = {
    "TE identity": te(b"identity"),
    "TE identity and CL": post(b"Transfer-Encoding: identity\r\n", LENGTH, body=BODY),
    "TE pigeons": te(b"pigeons"),
    "TE chunked, identity": te(b"chunked, identity"),
    "TE identity, identity": te(b"identity, identity"),
    "TE identity, chunked": te(b"identity, chunked"),
    "TE gzip, chunked": te(b"gzip, chunked"),
    "TE chunked, xchunked": te(b"chunked, xchunked"),
    "TE xchunked": te(b"xchunked"),
    "TE chunked with VT": te(b"chunked\x0b"),
    "TE VT chunked": te(b"\x0bchunked"),
    "TE empty": te(b""),
    "TE with an empty element": te(b",chunked"),
    "TE with a parameter": te(b"chunked;q=1"),
    "TE twice": post(CHUNKED, CHUNKED, body=CHUNKS),
    "TE twice, differing": post(CHUNKED, b"Transfer-Encoding: identity\r\n", body=CHUNKS),
    "TE chunked, chunked": te(b"chunked, chunked"),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked\r\n", body=CHUNKS),
    "TE space before colon": post(b"Transfer-Encoding : chunked\r\n", body=CHUNKS),
    "TE in 1.0": post(CHUNKED, body=CHUNKS, first=b"POST /v1/chat/completions HTTP/1.0\r\n"),
    "CL twice, differing": post(LENGTH, b"Content-Length: 5\r\n", body=BODY),
    "CL a list of equals": cl(b"%d, %d" % (len(BODY), len(BODY))),
    "CL +": cl(b"+%d" % len(BODY)),
    "CL -1": cl(b"-1"),
    "CL with _": cl(b"5_0"),
    "CL hexadecimal": cl(b"0x5"),
    "CL huge": cl(b"9" * 30),
    "CL empty": cl(b""),
    "CL with words": cl(b"%d bytes" % len(BODY)),
    "chunk size and a word": chunks(SIZE + b" x"),
    "chunk size hexadecimal mark": chunks(b"0x" + SIZE),
    "chunk size +": chunks(b"+" + SIZE),
    "chunk size -": chunks(b"-" + SIZE),
    "chunk size of 17 digits": chunks(b"f" * 17),
    "chunk size missing": chunks(b""),
    "chunk size with LF only": post(CHUNKED, body=SIZE + b"\n" + BODY + b"\n0\n\n"),
    "chunk extension with LF only": post(CHUNKED, body=SIZE + b";\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk longer than its size": post(CHUNKED, body=SIZE + b"\r\n" + BODY + b"XX0\r\n\r\n"),
    "trailer that is none": chunks(SIZE, end=b"0\r\nX y\r\n\r\n"),
    "obs-fold": post(b"X: a\r\n b\r\n", LENGTH, body=BODY),
    "space before colon": post(b"X : a\r\n", LENGTH, body=BODY),
    "a line that begins with a space": post(LENGTH, host=b" Host: x\r\n", body=BODY),
    "no colon": post(b"XYZ\r\n", LENGTH, body=BODY),
    "no name": post(b": a\r\n", LENGTH, body=BODY),
    "bare CR in a value": post(b"X: a\rb\r\n", LENGTH, body=BODY),
    "bare CR for a line's end": post(b"X: a\rContent-Length: 5\r\n", LENGTH, body=BODY),
    "NUL in a value": post(b"X: a\0b\r\n", LENGTH, body=BODY),
    "control in a name": post(b"X\x01: a\r\n", LENGTH, body=BODY),
    "control in a value": post(b"X: a\x01\r\n", LENGTH, body=BODY),
    "NUL after the key": get(host=HOST + b"Authorization: Bearer k\0\r\n"),
    "no host": get(host=b""),
    "empty host": get(host=b"Host: \r\n"),
    "two hosts": get(host=HOST + HOST),
    "a host that is none": get(host=b"Host: a b\r\n"),
    "a user in the host": get(host=b"Host: localhost@evil.example\r\n"),
    "HTTP/0.9": b"GET /v1/models\r\n",
    "HTTP/1.2": get(version=b"HTTP/1.2"),
    "HTTP/2.0": get(version=b"HTTP/2.0"),
    "http/1.1": get(version=b"http/1.1"),
    "space before the method": b" " + get(),
    "odd method": get(method=b"G@T"),
    "two spaces": get(target=b" /v1/models"),
    "space in the target": get(target=b"/v1/models x"),
    "control in the target": get(target=b"/v1/models\x01"),
    "no slash": get(target=b"v1/models"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
}


@pytest.mark.parametrize("name", REFUSED)
def test_doubtful_requests_are_refused_and_the_connection_ends(served, upstream, name):
    before = len(upstream.requests)
    came, closed = served.raw(REFUSED[name] + SECOND)
    found = answers(came)
    assert [answer.status for answer in found] == [400]
    assert closed
    assert found[0].body in {b""} or found[0].code == "bad_request"
    assert len(upstream.requests) == before


def test_a_preface_of_http2_ends_the_connection(served):
    came, closed = served.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECOND)
    assert (came, closed) == (b"", True)


LAST = {
    "chunks": post(CHUNKED, body=CHUNKS),
    "CL and TE": post(LENGTH, CHUNKED, body=CHUNKS),
    "TE and CL": post(CHUNKED, LENGTH, body=CHUNKS),
    "chunk size and blank": chunks(SIZE + b" "),
    "chunk extension empty": chunks(SIZE + b";"),
    "chunk extension": chunks(SIZE + b";a=b"),
    "chunk extension with an open quote": chunks(SIZE + b';a="'),
    "chunk size with zeros": chunks(b"0" * 10 + SIZE),
    "trailers": chunks(SIZE, end=b"0\r\nX: y\r\n\r\n"),
    "trailer with a length": chunks(SIZE, end=b"0\r\nContent-Length: 5\r\n\r\n"),
    "HTTP/1.0": get(version=b"HTTP/1.0", host=b""),
}


@pytest.mark.parametrize("name", LAST)
def test_what_the_parser_does_not_show_is_the_last_of_its_connection(served, name):
    came, closed = served.raw(LAST[name] + SECOND)
    assert [answer.status for answer in answers(came)] == [200]
    assert closed


CLEAR = {
    "pipelined": (post(LENGTH, body=BODY), [200, 200]),
    "CL twice, the same": (post(LENGTH, LENGTH, body=BODY), [200, 200]),
    "CL with blanks": (post(b"Content-Length:   %d  \r\n" % len(BODY), body=BODY), [200, 200]),
    "bytes beyond ASCII in a value": (get(lines=b"X: \xe9\r\n"), [200, 200]),
    "HTTP/1.0 that stays": (get(version=b"HTTP/1.0", host=b"", lines=b"Connection: keep-alive\r\n"), [200, 200]),
    "a body where none is asked for": (get(lines=b"Content-Length: 2\r\n") + b"ab", [200, 200]),
    "blank lines before": (b"\r\n\r\n" + get(), [200, 200]),
    "absolute form": (get(target=b"http://localhost/v1/models"), [200, 200]),
    "upgrade to a websocket": (
        get(lines=b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"),
        [200, 200],
    ),
    "upgrade to HTTP/2": (get(lines=b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), [200, 200]),
}  # fmt: skip


@pytest.mark.parametrize("name", CLEAR)
def test_what_leaves_no_doubt_is_answered_in_turn(served, name):
    sent, statuses = CLEAR[name]
    came, closed = served.raw(sent + SECOND, 0.5)
    assert [answer.status for answer in answers(came)] == statuses
    assert not closed


def test_an_absolute_form_of_another_host_is_routed_by_its_path_alone(served):
    """The parser drops the target's authority where a Host is given, so that the app sees the Host only."""
    came, _ = served.raw(get(target=b"http://evil.example/v1/models"), 0.5)
    assert [answer.status for answer in answers(came)] == [200]
    came, closed = served.raw(get(target=b"http://evil.example/v1/models", host=b""), 0.5)
    assert [answer.status for answer in answers(came)] == [421]
    assert closed


class TestExpect:
    def test_the_body_is_asked_for_after_the_key_was_seen(self, served):
        with served.connect() as sock:
            sock.sendall(post(b"Expect: 100-continue\r\n", LENGTH, b"Connection: close\r\n"))
            assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
            sock.sendall(BODY)
            assert [answer.status for answer in answers(drained(sock)[0])] == [200]

    def test_who_has_no_key_is_not_asked_for_a_body(self, served):
        head = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n"
        came, closed = served.raw(head)
        assert came.startswith(b"HTTP/1.1 401 ")
        assert closed

    def test_other_expectations(self, served):
        came, closed = served.raw(post(b"Expect: x\r\n", LENGTH, body=BODY) + SECOND)
        assert [answer.status for answer in answers(came)] == [417]
        assert closed


class TestLimits:
    @pytest.mark.parametrize(("lines", "status"), [
        (b"".join(b"x%d: y\r\n" % n for n in range(101)), 431),
        (b"x: " + b"y" * 8192 + b"\r\n", 431),
        (b"".join(b"x%d: %s\r\n" % (n, b"y" * 1000) for n in range(66)), 431),
        (b"".join(b"x%d: %s\r\n" % (n, b"y" * 9000) for n in range(66)), 431),
        (b"".join(b"x%d: y\r\n" % n for n in range(97)), 200),
    ])  # fmt: skip
    def test_headers(self, served, lines, status):
        came, closed = served.raw(get(lines=lines), 1)
        assert [answer.status for answer in answers(came)] == [status]
        assert closed == (status != 200)

    @pytest.mark.parametrize("length", [8192, 16 * 1024, 70_000])
    def test_the_url(self, served, length):
        came, closed = served.raw(get(target=b"/" + b"a" * length))
        assert [answer.status for answer in answers(came)] == [414]
        assert closed


class TestUploads:
    def test_who_has_no_key_is_refused_after_the_head(self, served):
        with served.connect() as sock:
            sock.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 104857600\r\n\r\n")
            came, closed = drained(sock)
            assert [answer.status for answer in answers(came)] == [401]
            assert closed

    @pytest.mark.parametrize("key", ["", "Authorization: Bearer no\r\n", f"Authorization: Bearer {ADMIN_KEY}\r\n"])
    def test_and_64_kib_of_the_upload_are_taken_at_most(self, served, key):
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Length: 104857600\r\n\r\n".encode()
        taken = 0
        with served.connect() as sock, pytest.raises(ConnectionError):
            sock.sendall(head)
            while taken < 104857600:
                taken += sock.send(b"x" * 4096)
                if taken % 16384 == 0:
                    sock.settimeout(5)
        assert taken < 16 * 2**20, "the connection was not closed"

    def test_a_body_that_says_it_is_too_long_is_refused_unread(self, served):
        came, closed = served.raw(post(b"Content-Length: 67108865\r\n"))
        assert [answer.status for answer in answers(came)] == [413]
        assert closed

    def test_chunks_without_end_are_cut_at_the_limit(self, served):
        piece = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        with served.connect(timeout=20) as sock:
            sock.sendall(post(CHUNKED))
            try:
                for _ in range(200):
                    sock.sendall(piece)
            except ConnectionError:
                return
            raise AssertionError("200 MiB were taken")
