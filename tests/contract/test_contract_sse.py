"""Server-sent events, to the letter of the standard and in whatever pieces they come."""

import inspect

import pytest

import spillway
from spillway.remote.sse import SseChunk, SseDecoder, decode_sse_stream

VECTORS = [
    (b"data: a\n\n", [(None, "a", "")]),
    (b"\xef\xbb\xbfdata: a\n\n", [(None, "a", "")]),
    (b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n", [(None, "1", ""), (None, "3", "")]),
    (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3\n\n", [(None, "2", ""), (None, "3", "")]),
    (b"data: a\r\ndata: b\r\n\r\n", [(None, "a\nb", "")]),
    (b"data: a\rdata: b\r\r", [(None, "a\nb", "")]),
    (b"data: a\r\n\r\ndata: b\n\n", [(None, "a", ""), (None, "b", "")]),
    (b"data:test\r\ndata\ndata:test\r\n\r\n", [(None, "test\n\ntest", "")]),
    (b"data: \xe2\x82\xac\n\n", [(None, "\u20ac", "")]),
    (b"data:  two\n\n", [(None, " two", "")]),
    (b"data:\ttab\n\n", [(None, "\ttab", "")]),
    (b"data\n\n", [(None, "", "")]),
    (b"data\ndata\n\n", [(None, "\n", "")]),
    (b": c\n\nevent: x\n\ndata: y\n\n", [(None, "y", "")]),
    (b"event: e\ndata: 1\n\ndata: 2\n\n", [("e", "1", ""), (None, "2", "")]),
    (b"event: \ndata:data\n\n", [(None, "data", "")]),
    (b"event: a\nevent: b\ndata: 1\n\n", [("b", "1", "")]),
    (b"id: 1\ndata: a\n\ndata: b\n\n", [(None, "a", "1"), (None, "b", "1")]),
    (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [(None, "a", "1"), (None, "b", "")]),
    (b"id: 1\n\ndata: b\n\n", [(None, "b", "1")]),
    (b"id: 1\ndata: a\n\nid: a\x00b\ndata: c\n\n", [(None, "a", "1"), (None, "c", "1")]),
    (b"retry: 10\nretry: x\ndata: a\n\n", [(None, "a", "")]),
    (b"Data: a\n\n data: b\n\n", []),
    (b"data: a\n\ndata: b\n", [(None, "a", "")]),
    (b"data: a\n\ndata: b", [(None, "a", "")]),
    (b'data: {"t":"a\xe2\x80\xa8b\xc2\x85c\x0bd\x0ce"}\n\n', [(None, '{"t":"a\u2028b\x85c\x0bd\x0ce"}', "")]),
    (b"data: a:b: c\n\n", [(None, "a:b: c", "")]),
    (b"data: \xff\xfe\n\n", [(None, "\ufffd\ufffd", "")]),
    (b"data:\x00\n\n", [(None, "\x00", "")]),
    (b"data:1\r:\x00\n:\r\ndata:2\n:" + b"x" * 2048 + b"\rdata:3\n:data:fail\r:" + b"x" * 2048 + b"\ndata:4\n\n", [(None, "1\n2\n3\n4", "")]),
    (b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n", [(None, "test\n\ntest", "")]),
    (b"data\n\ndata\ndata\n\ndata:", [(None, "", ""), (None, "\n", "")]),
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [(None, "YHOO\n+2\n10", "")]),
    (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     [(None, "first event", "1"), (None, "second event", ""), (None, " third event", "")]),
]  # fmt: skip


def flat(chunks):
    return [(chunk.event, chunk.data, chunk.id) for chunk in chunks]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 10**9])
@pytest.mark.parametrize(("raw", "expected"), VECTORS)
def test_the_events_are_the_same_in_pieces_of_any_size(raw, expected, size):
    decoder = SseDecoder()
    found = [chunk for at in range(0, len(raw), size) for chunk in decoder.feed(raw[at : at + size])]
    assert flat(found) == expected
    assert all(isinstance(chunk, SseChunk) for chunk in found)


@pytest.mark.parametrize(("raw", "expected"), VECTORS)
async def test_a_stream_gives_the_same(raw, expected):
    async def pieces():
        for at in range(0, len(raw), 5):
            yield raw[at : at + 5]
            yield b""

    stream = decode_sse_stream(pieces())
    assert hasattr(stream, "__anext__")
    assert flat([chunk async for chunk in stream]) == expected


def test_a_chunk_has_its_three_parts():
    chunk = SseChunk("e", "d", "i")
    assert (chunk.event, chunk.data, chunk.id) == ("e", "d", "i")
    assert SseChunk(event=None, data="d", id="") == SseChunk(None, "d", "")


def test_feed_returns_a_list():
    decoder = SseDecoder()
    assert decoder.feed(b"") == []
    assert decoder.feed(b"data: a\n\ndata: b\n\n") == [SseChunk(None, "a", ""), SseChunk(None, "b", "")]


def test_an_event_as_long_as_allowed_passes_and_a_longer_one_is_an_error():
    assert len(SseDecoder(max_event_bytes=100).feed(b"data:" + b"x" * 99 + b"\n\n")) == 1
    with pytest.raises(spillway.ServerError):
        SseDecoder(max_event_bytes=100).feed(b"data:" + b"x" * 101 + b"\n\n")
    endless = SseDecoder(100)
    with pytest.raises(spillway.ServerError):
        for _ in range(100):
            endless.feed(b"x" * 50)


def test_an_event_may_have_16_mib_by_default():
    assert inspect.signature(SseDecoder).parameters["max_event_bytes"].default == 16 * 1024 * 1024
    assert len(SseDecoder().feed(b"data:" + b"x" * (8 * 1024 * 1024) + b"\n\n")) == 1
