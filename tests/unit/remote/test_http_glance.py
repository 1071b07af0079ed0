"""Which answers are taken at a glance, and that every doubt leaves one to the parser."""

import pytest

from spillway.remote.http.glance import at_a_glance

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req 1\r\nContent-Length: 2\r\n\r\n"


def seen(data):
    return at_a_glance(data, data.find(b"\r\n\r\n") + 4)


def test_whole_answer():
    headers, body = seen(HEAD + b"{}")
    assert body == b"{}"
    assert dict(headers) == {"Content-Type": "application/json", "X-Request-Id": "req 1", "Content-Length": "2"}
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b" OK", b" "),
        HEAD.replace(b"X-Request-Id: req 1", b"x:"),
        HEAD.replace(b"X-Request-Id: req 1", b"Connection: keep-alive"),
        HEAD.replace(b"X-Request-Id: req 1", b"a: \t1"),
        HEAD.replace(b"X-Request-Id: req 1", b"Set-Cookie: a\r\nSet-Cookie: b"),
    ],
)
def test_plain_ones(head):
    assert seen(head + b"{}").body == b"{}"


def test_of_two_values_the_first_counts():
    headers, _ = seen(HEAD.replace(b"X-Request-Id: req 1", b"a: 1\r\nA: 2") + b"{}")
    assert headers["a"] == "1"


@pytest.mark.parametrize("body", [b"", b"{", b"{}\n", b"{}HTTP/1.1 200 OK"])
def test_length_must_be_that_of_what_came(body):
    assert seen(HEAD + body) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"HTTP/1.1 200", b"HTTP/1.0 200"),
        (b"HTTP/1.1 200", b"HTTP/1.1 201"),
        (b"HTTP/1.1 200", b"HTTP/1.1 100"),
        (b"HTTP/1.1 200", b"HTTP/1.1  200"),
        (b" OK", b" O\x00K"),
        (b" OK", b" O\rK"),
        (b" OK\r\n", b" OK\n"),
        (b" OK", b" \xff"),
        (b"Length: 2", b"Length: 02"),
        (b"Length: 2", b"Length: +2"),
        (b"Length: 2", b"Length: 2, 2"),
        (b"Length: 2", b"Length: 2\r\nContent-Length: 2"),
        (b"Content-Length: 2", b"a: b"),
        (b"req 1", b"req 1 "),
        (b"req 1", b"req\x001"),
        (b"req 1", b"req\x7f1"),
        (b"req 1", b"req\xe9"),
        (b"req 1", b"req\r1"),
        (b"req 1", b"req\nb: c"),
        (b"req 1", b"req\r\n folded"),
        (b"X-Request-Id:", b"X-Request-Id :"),
        (b"X-Request-Id:", b" X-Request-Id:"),
        (b"X-Request-Id:", b"X Request:"),
        (b"X-Request-Id: req 1", b"X-Request-Id"),
        (b"X-Request-Id: req 1", b": req 1"),
        (b"X-Request-Id: req 1", b"Connection: close"),
        (b"X-Request-Id: req 1", b"Connection: keep-alive, upgrade"),
        (b"X-Request-Id: req 1", b"Transfer-Encoding: chunked"),
        (b"X-Request-Id: req 1", b"transfer-encoding: identity"),
        (b"X-Request-Id: req 1", b"Content-Encoding: gzip"),
        (b"X-Request-Id: req 1", b"Upgrade: h2c"),
        (b"X-Request-Id: req 1", b"Trailer: x"),
        (b"X-Request-Id: req 1", b"x: " + b"y" * 9000),
        (b"X-Request-Id: req 1", b"\r\n".join(b"x: %d" % n for n in range(200))),
    ],
)
def test_doubt_is_for_the_parser(old, new):
    assert old in HEAD
    assert seen(HEAD.replace(old, new) + b"{}") is None
