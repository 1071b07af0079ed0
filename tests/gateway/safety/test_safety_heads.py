"""What a head may look like, as pure decisions; that the gateway asks them is shown over raw connections elsewhere."""

import pytest

from spillway.gateway.heads import (
    Hosts,
    Unfit,
    check_form,
    check_size,
    has_body,
    host_name,
    is_from_foreign_page,
    is_last,
    is_trusted_by_place,
    read_headers,
)

HOST = {"host": "localhost"}


def refused(method="POST", version="1.1", repeated=(), **headers):
    fields = {name.replace("_", "-"): value for name, value in {**HOST, **headers}.items() if value is not None}
    try:
        check_form(method, version, fields, set(repeated))
    except Unfit as unfit:
        return unfit.status
    return None


@pytest.mark.parametrize(
    "coding",
    ["identity", "gzip, chunked", "chunked, chunked", ",chunked", "chunked;q=1", "", "\x0bchunked", "chunked\x0b", "x"],
)
def test_only_plain_chunks_are_taken(coding):
    assert refused(transfer_encoding=coding) == 400


@pytest.mark.parametrize("coding", ["chunked", "CHUNKED", " chunked\t"])
def test_chunks_are_taken_and_end_the_connection(coding):
    assert refused(transfer_encoding=coding) is None
    assert is_last({"transfer-encoding": coding})
    assert has_body({"transfer-encoding": coding})


def test_two_lengths_are_refused():
    assert refused(transfer_encoding="chunked", content_length="4") == 400


@pytest.mark.parametrize(
    "name", ["transfer-encoding", "content-length", "host", "expect", "content-encoding", "content-type"]
)
def test_what_frames_a_request_comes_once(name):
    assert refused(repeated=[name]) == 400
    assert refused(repeated=["accept", "x-other"]) is None


@pytest.mark.parametrize("length", ["+5", "-1", "5_0", "0x5", "5, 5", "", "٣", "9" * 20])
def test_a_length_is_digits(length):
    assert refused(content_length=length) == 400


@pytest.mark.parametrize("length", ["0", "00", "7", "9" * 19])
def test_lengths_that_are_taken(length):
    assert refused(content_length=length) is None
    assert has_body({"content-length": length}) == (length.strip("0") != "")


@pytest.mark.parametrize(("host", "version", "status"), [
    (None, "1.1", 400), ("", "1.1", 400), (None, "1", None), (None, "2", None),
    ("a b", "1.1", 400), ("a/b", "1.1", 400), ("user@host", "1.1", 400), ("a:b", "1.1", 400), ("a\x00", "1.1", 400), ("a,b", "1.1", 400),
    ("a", "1.1", None), ("a.b.:80", "1.1", None), ("[::1]:80", "1.1", None), ("127.0.0.1:65535", "1.1", None),
])  # fmt: skip
def test_a_host_is_there_and_valid(host, version, status):
    assert refused(version=version, host=host) == status


@pytest.mark.parametrize(("value", "status"), [("100-continue", None), ("100-Continue ", None), ("x", 417), ("", 417)])
def test_expectations(value, status):
    assert refused(expect=value) == status


@pytest.mark.parametrize(("method", "status"), [("GET", None), ("post", None), ("TRACE", None), ("CONNECT", 405)])
def test_methods_that_are_never_served(method, status):
    assert refused(method) == status


@pytest.mark.parametrize(("rows", "target", "status"), [
    ([(b"a", b"b")] * 100, 8192, None),
    ([], 8193, 414),
    ([(b"a", b"b")] * 101, 1, 431),
    ([(b"a", b"b" * 8187)], 1, None),
    ([(b"a", b"b" * 8188)], 1, 431),
    ([(b"a", b"b" * 4091)] * 16, 1, None),
    ([(b"a", b"b" * 4091)] * 16 + [(b"a", b"b")], 1, 431),
])  # fmt: skip
def test_how_large_a_head_may_be(rows, target, status):
    if status is None:
        check_size(rows, target)
    else:
        with pytest.raises(Unfit) as caught:
            check_size(rows, target)
        assert caught.value.status == status


def test_the_first_of_two_is_read():
    assert read_headers([(b"A", b"1"), (b"a", b"2"), (b"B", b"\xe9")]) == ({"a": "1", "b": "\xe9"}, {"a"})


@pytest.mark.parametrize(("names", "host", "let_in"), [
    (None, "evil.example", True), ((), "evil.example", False), ((), "localhost", True), ((), "LOCALHOST.:80", True),
    ((), "[::1]:80", True), ((), "127.0.0.1", True), ((), "127.0.0.1.nip.io", False), ((), None, True), ((), "2130706433", False),
    (("api.example.com",), "API.example.com:443", True), (("api.example.com",), "localhost:1", True), (("api.example.com",), "example.com", False),
])  # fmt: skip
def test_names_the_gateway_is_asked_under(names, host, let_in):
    headers = {} if host is None else {"host": host}
    if let_in:
        Hosts(names).check(headers)
    else:
        with pytest.raises(Unfit, match=r"\[gateway\] hosts") as caught:
            Hosts(names).check(headers)
        assert caught.value.status == 421


def test_hosts_say_who_they_are():
    assert repr(Hosts()) == "<Hosts any>"
    assert repr(Hosts(["A.example."])) == "<Hosts 127.0.0.1 [::1] a.example localhost>"
    assert [host_name(host) for host in ("A:1", "a.", "[::1]", "[::1]:9", "a")] == ["a", "a", "[::1]", "[::1]", "a"]


@pytest.mark.parametrize(("headers", "trusted"), [
    ({"host": "localhost:1"}, True),
    ({}, True),
    ({"host": "gateway.internal"}, False),
    ({"host": "localhost", "x-forwarded-for": "1.2.3.4"}, False),
    ({"host": "localhost", "forwarded": "for=1.2.3.4"}, False),
    ({"host": "localhost", "x-real-ip": "1.2.3.4"}, False),
    ({"host": "localhost", "via": "1.1 proxy"}, False),
    ({"host": "localhost:1", "origin": "http://localhost:1"}, True),
    ({"host": "localhost:1", "origin": "http://localhost:2"}, False),
    ({"host": "localhost:1", "origin": "https://evil.example"}, False),
    ({"host": "localhost:1", "origin": "null"}, False),
    ({"host": "localhost", "sec-fetch-site": "cross-site"}, False),
    ({"host": "localhost", "sec-fetch-site": "same-site"}, False),
    ({"host": "localhost", "sec-fetch-site": "same-origin"}, True),
    ({"host": "localhost", "sec-fetch-site": "none"}, True),
])  # fmt: skip
def test_who_is_trusted_for_coming_from_this_machine(headers, trusted):
    assert is_trusted_by_place(headers) == trusted


def test_a_page_of_the_gateway_itself_is_not_foreign():
    own = {"host": "api.example.com", "origin": "https://API.example.com"}
    assert not is_from_foreign_page(own)
    assert is_from_foreign_page({**own, "origin": "https://example.com"})
