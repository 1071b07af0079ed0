import asyncio
import random
import time
import tracemalloc

import pytest

from spillway.core.errors import ServerError
from spillway.remote.sse import SseChunk, SseDecoder, decode_sse_stream

LONG = b"x" * 2048


def whole(pieces, **options):
    decoder = SseDecoder(**options)
    return [event for piece in pieces for event in decoder.feed(piece)]


def splits(data):
    yield [data]
    for size in (1, 2, 3, 4, 7):
        yield [data[i : i + size] for i in range(0, len(data), size)]
    rng = random.Random(len(data))
    for _ in range(20):
        cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, 6)))
        yield [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def everywhere(data, **options):
    """Decode `data` at many split sizes by both doors; they must agree."""
    expected = whole([data], **options)
    for pieces in splits(data):
        assert whole(pieces, **options) == expected, pieces
        raw = SseDecoder(**options)
        told = [event for piece in pieces for event in raw.feed_data(piece)]
        assert [
            (None if name is None else name.decode("utf-8", "replace"), text.decode("utf-8", "replace"))
            for name, text in told
        ] == [(event.event, event.data) for event in expected], pieces
    return expected


def named(events):
    return [(event.event, event.data) for event in events]


def data_of(events):
    return [event.data for event in events]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\n", [(None, "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(None, "a")]),
        (b"data: a\r\ndata: b\r\n\r\n", [(None, "a\nb")]),
        (b"data: a\rdata: b\r\r", [(None, "a\nb")]),
        (b"data: a\r\n\r\ndata: b\n\n", [(None, "a"), (None, "b")]),
        (b"data: \xe2\x82\xac\n\n", [(None, "€")]),
        (b"data:  two\n\n", [(None, " two")]),
        (b"data:\ttab\n\n", [(None, "\ttab")]),
        (b"data\n\n", [(None, "")]),
        (b"data:\n\n", [(None, "")]),
        (b"data: \n\n", [(None, "")]),
        (b"data\ndata\n\n", [(None, "\n")]),
        (b": c\n\nevent: x\n\ndata: y\n\n", [(None, "y")]),
        (b"event: e\ndata: 1\n\ndata: 2\n\n", [("e", "1"), (None, "2")]),
        (b"data: 1\nevent: e\n\n", [("e", "1")]),
        (b"event: e\nevent: f\ndata: 1\n\n", [("f", "1")]),
        (b"Data: a\n\n data: b\n\n", []),
        (b"data: a\n\ndata: b\n", [(None, "a")]),
        (b"data: a\n\ndata: b", [(None, "a")]),
        (b'data: {"t":"a\xe2\x80\xa8b"}\n\n', [(None, '{"t":"a\u2028b"}')]),
        (b"data: a:b: c\n\n", [(None, "a:b: c")]),
        (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [(None, "a"), (None, "b")]),
        (b"", []),
        # byte order marks: the first only
        (b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n", [(None, "1"), (None, "3")]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3\n\n", [(None, "2"), (None, "3")]),
        (b"\xef\xbbdata:1\n\ndata:2\n\n", [(None, "2")]),
        # comments
        (
            b"data:1\r:\0\n:\r\ndata:2\n:" + LONG + b"\rdata:3\n:data:fail\r:" + LONG + b"\ndata:4\n\n",
            [(None, "1\n2\n3\n4")],
        ),
        # names
        (b"event:test\ndata:x\n\ndata:x\n\n", [("test", "x"), (None, "x")]),
        (b"event: \ndata:data\n\n", [(None, "data")]),
        (b"event\ndata:data\n\n", [(None, "data")]),
        (b"event:  test\ndata:x\n\n", [(" test", "x")]),
        # unknown fields
        (b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\ndata:test\n\n", [(None, "test\n\ntest")]),
        (b"datax: 1\nevents: y\ndata : 2\n\n", []),
        # line ends
        (b"data:test\r\ndata\ndata:test\r\n\r\n", [(None, "test\n\ntest")]),
        (b"data: 1\r\r\ndata: 2\n\r\ndata: 3\r\r", [(None, "1"), (None, "2"), (None, "3")]),
        (b"data: 1\n\rdata: 2\r\n\n", [(None, "1"), (None, "2")]),
        (b"data: a\x0bb\x0cc\xc2\x85d\xe2\x80\xa9e\n\n", [(None, "a\x0bb\x0cc\x85d\u2029e")]),
        # null, spaces, shape of JSON
        (b"data:\0\n\n", [(None, "\0")]),
        (b'data: {\ndata: "foo":\ndata: \ndata: \ndata: true}\n\n', [(None, '{\n"foo":\n\n\ntrue}')]),
        (b'data: {"t":"\\n\\n"}\n\n', [(None, '{"t":"\\n\\n"}')]),
        # the examples of the standard
        (b"data: YH00\ndata: +2\ndata: 10\n\n", [(None, "YH00\n+2\n10")]),
        (b"data\n\ndata\ndata\n\ndata:", [(None, ""), (None, "\n")]),
        (b"data:test\n\ndata: test\n\n", [(None, "test"), (None, "test")]),
        # broken UTF-8
        (b"data: a\xff\xfeb\n\n", [(None, "a\ufffd\ufffdb")]),
        (b"data: \x80\n\n", [(None, "\ufffd")]),
        (b"data: \xc0\xaf\n\n", [(None, "\ufffd\ufffd")]),
        (b"data: \xed\xa0\x80\n\n", [(None, "\ufffd\ufffd\ufffd")]),
        (b"data: \xe2\x82\ndata: \xac\n\n", [(None, "\ufffd\n\ufffd")]),
        (b"event: \xff\ndata: 1\n\n", [("\ufffd", "1")]),
        ("data: известни 😀\n\n".encode(), [(None, "известни 😀")]),
        # what providers send
        (
            b'data: {"a":1}\n\ndata: {"a":2}\n\ndata: [DONE]\n\n',
            [(None, '{"a":1}'), (None, '{"a":2}'), (None, "[DONE]")],
        ),
        (b": ping\n\ndata: 1\n\n: ping\n\n", [(None, "1")]),
        (
            b'event: message_start\ndata: {"t":1}\n\nevent: ping\ndata: {"t":2}\n\nevent: x\ndata: 3\ndata: 4\n\n',
            [("message_start", '{"t":1}'), ("ping", '{"t":2}'), ("x", "3\n4")],
        ),
        (b"event: a\nid: 4\ndata: 1\n\nevent: a\ndata:2\n\nevent:b\ndata: 3\n\n", [("a", "1"), ("a", "2"), ("b", "3")]),
    ],
)
def test_events(stream, expected):
    assert named(everywhere(stream)) == expected


@pytest.mark.parametrize(
    ("stream", "ids"),
    [
        (b"id: 1\ndata: a\n\ndata: b\n\n", ["1", "1"]),
        (b"data: 0\n\nid: a\x00b\ndata: c\n\n", ["", ""]),
        (b"id: 1\ndata: c\n\nid: \0\ndata: c\n\nid: x\0\ndata: d\n\n", ["1", "1", "1"]),
        (b"id: 1\n\ndata: a\n\n", ["1"]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            ["1", "", ""],
        ),
        (b"retry:1000\ndata:test1\n\nid:test\ndata:test2", [""]),
        ("id: …\ndata: a\n\n".encode(), ["…"]),
        (b"data: a\n\nid: 7\nevent: e\ndata: b\n\nevent: f\ndata: c\n\n", ["", "7", "7"]),
    ],
)
def test_ids(stream, ids):
    assert [event.id for event in everywhere(stream)] == ids


@pytest.mark.parametrize(
    ("stream", "retry"),
    [
        (b"retry: 10\nretry: x\ndata: a\n\n", 10),
        (b"retry:3000\ndata:x\n\n", 3000),
        (b"retry:3000\nretry:1000x\ndata:x\n\n", 3000),
        (b"retry\nretry:\ndata:test\n\n", None),
        (b"retry: -5\nretry: 1_0\nretry: +1\nretry:  7\nretry: \xd9\xa3\n\n", None),
        (b"retry: 0\n", 0),
    ],
)
def test_retry(stream, retry):
    for pieces in splits(stream):
        decoder = SseDecoder()
        for piece in pieces:
            decoder.feed(piece)
        assert decoder.retry == retry


def test_digits_without_end_are_no_crash():
    decoder = SseDecoder()
    assert data_of(decoder.feed(b"retry: " + b"9" * 10_000 + b"\ndata: a\n\n")) == ["a"]
    assert decoder.retry is None


def test_an_event_is_given_out_by_the_read_that_ends_it():
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [SseChunk(None, "a", "")]
    assert decoder.feed(b"data: b\r") == []
    assert decoder.feed(b"\r") == [SseChunk(None, "b", "")]
    assert decoder.feed(b"\ndata: c\n\n") == [SseChunk(None, "c", "")]
    assert decoder.feed(b"") == []


def test_a_named_event_without_data_only_on_request():
    stream = b"event: ping\n\nretry: 5\n\nid: 3\n\n: c\n\nevent:\n\nevent: x\ndata: 1\n\n"
    assert everywhere(stream) == [SseChunk("x", "1", "3")]
    assert everywhere(stream, emit_dataless=True) == [SseChunk("ping", "", ""), SseChunk("x", "1", "3")]


def test_what_is_left_over_can_be_looked_at():
    tail = b'{\n  "error": {\n    "code": 503\n  }\n}'
    for pieces in splits(b'data: {"a": 1}\n\n' + tail):
        decoder = SseDecoder(keep_unknown=True)
        assert len([event for piece in pieces for event in decoder.feed_data(piece)]) == 1
        assert decoder.residue == tail
    decoder.feed(b"\n\ndata: x\n\n")
    assert decoder.residue == b""


def test_unknown_lines_are_forgotten_with_the_next_event_and_by_default():
    decoder = SseDecoder(keep_unknown=True)
    decoder.feed(b"junk\nmore: junk\n: comment\n")
    assert decoder.residue == b"junk\nmore: junk\n"
    decoder.feed(b"data: 1\n\nda")
    assert decoder.residue == b"da"
    plain = SseDecoder()
    plain.feed(b"junk\nmo")
    assert plain.residue == b"mo"


def test_the_residue_is_bounded():
    decoder = SseDecoder(keep_unknown=True)
    for _ in range(100):
        decoder.feed(b"u" * 5000 + b"\n")
    decoder.feed(b"v" * 500_000)
    assert len(decoder.residue) == 65536


# Sizes


@pytest.mark.parametrize("prefix", [b"data: ", b"data:", b"event: e\ndata: "])
def test_the_limit_is_on_the_data_to_the_byte(prefix):
    for pieces in splits(prefix + b"y" * 1000 + b"\n\n"):
        assert len(whole(pieces, max_event_bytes=1000)[0].data) == 1000
        with pytest.raises(ServerError) as caught:
            whole(pieces, max_event_bytes=999)
        assert caught.value.reason == "event_too_large"
        assert not caught.value.retryable
        assert caught.value.counts_as_circuit_failure


def test_lines_of_one_event_add_up():
    stream = b"data: 12345\n" * 10
    for pieces in splits(stream + b"\n"):
        assert len(whole(pieces, max_event_bytes=59)[0].data) == 59
        with pytest.raises(ServerError):
            whole(pieces, max_event_bytes=58)


@pytest.mark.parametrize("line", [b": comment", b"event: name", b"unknown", b"data"])
def test_any_line_without_end_is_refused(line):
    decoder = SseDecoder(max_event_bytes=1000)
    with pytest.raises(ServerError):
        for _ in range(1002):
            decoder.feed(line if line != b"data" else b"data: x")
            line = b"x"


def test_comments_and_small_events_without_end_are_fine():
    decoder = SseDecoder(max_event_bytes=100)
    for _ in range(1000):
        assert decoder.feed(b": ping\n") == []
        assert len(decoder.feed(b"\ndata: 1\n\n" * 20)) == 20


def test_what_came_before_an_event_too_large_is_not_lost():
    decoder = SseDecoder(max_event_bytes=10)
    assert data_of(decoder.feed(b"data: a\n\ndata: b\n\ndata: " + b"x" * 50)) == ["a", "b"]
    for _ in range(2):
        with pytest.raises(ServerError):
            decoder.feed(b"\n\ndata: c\n\n")
    assert repr(decoder) == "<SseDecoder failed>"


def test_sixteen_mebibytes_pass_and_one_byte_more_does_not():
    half = b"z" * (8 * 1024 * 1024)
    assert len(whole([b"data: ", half, half, b"\n\n"])[0].data) == 16 * 1024 * 1024
    decoder = SseDecoder()
    decoder.feed(b"data: " + half)
    decoder.feed(half)
    with pytest.raises(ServerError):
        decoder.feed(b"z")


def test_an_endless_line_is_held_in_little_more_than_the_limit():
    limit = 4 * 1024 * 1024
    piece = b"z" * 65536
    tracemalloc.start()
    decoder = SseDecoder(max_event_bytes=limit)
    with pytest.raises(ServerError):
        for _ in range(10_000):
            decoder.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * limit


def cost(pieces):
    decoder = SseDecoder()
    began = time.process_time()
    for piece in pieces:
        decoder.feed(piece)
    return time.process_time() - began


def pieces_of(data, size):
    return [data[i : i + size] for i in range(0, len(data), size)]


@pytest.mark.parametrize(
    "stream",
    [
        lambda n: pieces_of(b"data: " + b"x" * n, 8),
        lambda n: pieces_of(b"data:\n" * (n // 6), 8),
        lambda n: pieces_of(b": c\n" * (n // 4), 8),
        lambda n: pieces_of(b"\r\n" * (n // 2), 8),
    ],
    ids=["a long line", "many lines", "comments", "blank lines"],
)
def test_the_work_is_linear(stream):
    small, large = stream(50_000), stream(800_000)
    one = min(cost(small) for _ in range(3))
    assert cost(large) < 16 * one * 4 + 0.05


# The async door


async def arriving(pieces):
    for piece in pieces:
        yield piece


async def test_a_stream_is_decoded_as_it_comes():
    events = decode_sse_stream(arriving([b"data: a\n\nda", b"ta: b\n\n", b"event: e\nid: 1\ndata: c\n\ndata: lost"]))
    assert [event async for event in events] == [
        SseChunk(None, "a", ""),
        SseChunk(None, "b", ""),
        SseChunk("e", "c", "1"),
    ]


async def test_an_event_is_yielded_before_the_next_read():
    reads = []

    async def source():
        for n in range(3):
            reads.append(n)
            yield b"data: %d\n\n" % n

    events = decode_sse_stream(source())
    assert (await anext(events)).data == "0"
    assert reads == [0]
    await events.aclose()


async def test_an_event_too_large_follows_those_before_it_even_at_the_end():
    seen = []
    with pytest.raises(ServerError):
        async for event in decode_sse_stream(arriving([b"data: a\n\ndata: " + b"x" * 99]), max_event_bytes=10):
            seen.append(event.data)
    assert seen == ["a"]


async def test_an_error_of_the_source_passes_through():
    async def source():
        yield b"data: a\n\n"
        raise asyncio.CancelledError

    seen = []
    with pytest.raises(asyncio.CancelledError):
        async for event in decode_sse_stream(source()):
            seen.append(event)
    assert len(seen) == 1


def test_says_where_it_is():
    decoder = SseDecoder()
    assert repr(decoder) == "<SseDecoder between events, 0 bytes held>"
    decoder.feed(b"data: abc\nda")
    assert repr(decoder) == "<SseDecoder in an event, 6 bytes held>"


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="max_event_bytes"):
        SseDecoder(0)
