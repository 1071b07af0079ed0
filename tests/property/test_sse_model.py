"""The decoder against a decoder written word for word from the standard, over any bytes and any cuts."""

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from spillway.remote.sse import SseDecoder


def standard(stream: bytes):
    """Follow the standard's steps on the whole stream: decode, cut into lines, interpret."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _unended = re.split(r"\r\n|\n|\r", text)
    events, data, kind, last_id, retry = [], "", "", "", None
    for line in lines:
        if line == "":
            if data == "":
                kind = ""
                continue
            events.append((kind or None, data.removesuffix("\n"), last_id))
            data, kind = "", ""
            continue
        if line.startswith(":"):
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and re.fullmatch("[0-9]+", value):
            retry = int(value)
    return events, retry


TOKENS = [
    b"data", b"data:", b"data: ", b"event: ", b"event:", b"id: ", b"id", b"retry: ", b"retry:", b":", b" ", b"\n", b"\n\n",
    b"\r", b"\r\n", b"\r\n\r\n", b"\r\r", b"\0", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80", b"\xff", b"\xe2\x82",
    b"x", b"12", b'{"a":1}', b"[DONE]", b"data: x\n\n", b"event: e\ndata: y\n\n", b": ping\n\n", b"foo: bar\n", b"\x85", b"\x0b",
]  # fmt: skip

streams = st.one_of(
    st.lists(st.sampled_from(TOKENS), max_size=40).map(b"".join),
    st.lists(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4)), max_size=30).map(b"".join),
    st.binary(max_size=60),
)


def cut(stream, cuts):
    places = sorted({c % (len(stream) + 1) for c in cuts})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@settings(max_examples=800, deadline=None)
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
@example(b"data: a\n\n\ndata: b\n\n", [])
@example(b"data: a\r\n\r\n\ndata: b\n\n", [8, 9, 10])
@example(b"\n\ndata: a\n\n\n\n\n", [1])
@given(streams, st.lists(st.integers(0, 1000), max_size=8))
def test_any_bytes_at_any_cuts_are_what_the_standard_says(stream, cuts):
    expected, retry = standard(stream)
    for pieces in (cut(stream, cuts), [stream], [stream[i : i + 1] for i in range(len(stream))]):
        decoder = SseDecoder()
        events = [event for piece in pieces for event in decoder.feed(piece)]
        assert [(event.event, event.data, event.id) for event in events] == expected
        assert decoder.retry == retry


@settings(max_examples=300, deadline=None)
@example(b"\xef\xbb\xbf", [], False, 1)
@given(streams, st.lists(st.integers(0, 1000), max_size=8), st.booleans(), st.integers(1, 40))
def test_both_doors_and_all_cuts_agree_under_every_option(stream, cuts, dataless, limit):
    def run(pieces, door):
        decoder = SseDecoder(limit, emit_dataless=dataless, keep_unknown=True)
        events, failed = [], False
        for piece in [*pieces, b"", b""]:
            try:
                events += getattr(decoder, door)(piece)
            except Exception as error:
                assert error.reason == "event_too_large"
                failed = True
        if door == "feed_data":
            return [(n and n.decode("utf-8", "replace"), d.decode("utf-8", "replace")) for n, d in events], failed
        return [(event.event, event.data) for event in events], failed

    expected = run([stream], "feed")
    assert run([stream], "feed_data") == expected
    for pieces in (cut(stream, cuts), [stream[i : i + 1] for i in range(len(stream))]):
        assert run(pieces, "feed") == expected
        assert run(pieces, "feed_data") == expected
