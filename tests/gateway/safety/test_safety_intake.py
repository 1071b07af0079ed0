"""How a body is read: to a limit of size and patience, unpacked, and taken for a JSON object or refused."""

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_rig import BEARER, CHAT, app_of, ask_app, said

from spillway.core.errors import BadRequest
from spillway.gateway import intake
from spillway.gateway.heads import Unfit
from spillway.gateway.intake import check_content_type, json_object, read_body


def receiving(*pieces, ends=True, gap_s=0.0):
    left = list(pieces)

    async def receive():
        await asyncio.sleep(gap_s)
        if not left:
            return {"type": "http.disconnect"}
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or not ends}

    return receive


async def status_of(receive, **headers):
    with pytest.raises(Unfit) as caught:
        await read_body(receive, {name.replace("_", "-"): value for name, value in headers.items()})
    return caught.value.status


class TestSize:
    async def test_pieces_are_put_together(self):
        assert await read_body(receiving(b"a", b"", b"bc"), {}) == b"abc"
        assert await read_body(receiving(b""), {}) == b""

    async def test_what_says_that_it_is_too_long_is_not_read(self):
        assert await status_of(None, content_length=str(intake.BODY_LIMIT + 1)) == 413

    async def test_what_turns_out_too_long_is_read_no_further(self, monkeypatch):
        monkeypatch.setattr(intake, "BODY_LIMIT", 10)
        receive = receiving(*[b"12345"] * 100)
        assert await status_of(receive) == 413
        assert (await receive())["type"] == "http.request"

    async def test_at_the_limit_it_is_taken(self, monkeypatch):
        monkeypatch.setattr(intake, "BODY_LIMIT", 10)
        assert await read_body(receiving(b"12345", b"12345"), {"content-length": "10"}) == b"1234512345"

    async def test_a_body_that_ends_early_is_refused(self):
        assert await status_of(receiving(b"a", ends=False)) == 400


class TestPatience:
    async def test_a_caller_who_stops_is_not_waited_for(self, monkeypatch):
        monkeypatch.setattr(intake, "BODY_TIMEOUT_S", 0.05)
        assert await status_of(receiving(b"a", b"b", gap_s=3600)) == 408

    async def test_a_caller_who_drips_is_not_waited_for(self, monkeypatch):
        monkeypatch.setattr(intake, "BODY_TIMEOUT_S", 0.2)
        began = time.monotonic()
        assert await status_of(receiving(*[b"a"] * 1000, gap_s=0.02)) == 408
        assert time.monotonic() - began < 2

    async def test_a_caller_who_is_slow_and_steady_is_waited_for(self, monkeypatch):
        monkeypatch.setattr(intake, "BODY_TIMEOUT_S", 0.2)
        pieces = [b"a" * 2048] * 25
        assert len(await read_body(receiving(*pieces, gap_s=0.02), {})) == 25 * 2048


class TestCodings:
    @pytest.mark.parametrize(
        "coding", ["br", "zstd", "deflate", "gzip, gzip", "gzip,gzip,gzip,gzip,gzip,gzip", "compress", "x"]
    )
    async def test_others_than_gzip_are_refused_unread(self, coding):
        assert await status_of(None, content_encoding=coding) == 415

    @pytest.mark.parametrize("coding", ["gzip", "x-gzip", " GZIP "])
    async def test_gzip(self, coding):
        body = b"x" * 10 * 1024 * 1024
        assert await read_body(receiving(gzip.compress(body)), {"content-encoding": coding}) == body

    @pytest.mark.parametrize("coding", ["identity", ""])
    async def test_none(self, coding):
        assert await read_body(receiving(b"x"), {"content-encoding": coding}) == b"x"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"plain",
            gzip.compress(b"x" * 99, mtime=0)[:-5],
            gzip.compress(b"x", mtime=0) + b"more",
            gzip.compress(b"x", mtime=0) * 2,
            zlib.compress(b"x"),
        ],
    )
    async def test_what_is_no_gzip_is_refused(self, body):
        with pytest.raises(BadRequest):
            await read_body(receiving(body), {"content-encoding": "gzip"})

    async def test_a_bomb_is_refused_at_the_limit_and_holds_nobody_up(self):
        bomb = bomb_of(1024)
        lags = []

        async def heart():
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0.001)
                lags.append(time.perf_counter() - began)

        beating = asyncio.create_task(heart())
        tracemalloc.start()
        try:
            assert await status_of(receiving(bomb), content_encoding="gzip") == 413
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        assert peak <= 1.3 * intake.BODY_LIMIT
        assert len(lags) >= 10, "the loop stood still while the bomb was unpacked"


def bomb_of(mebibytes):
    """So much of zeros, packed."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = b"\0" * 2**20
    return b"".join(pack.compress(block) for _ in range(mebibytes)) + pack.flush()


class TestContentType:
    @pytest.mark.parametrize(
        "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json", None]
    )
    def test_json(self, kind):
        check_content_type({} if kind is None else {"content-type": kind})

    @pytest.mark.parametrize(
        "kind",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "",
            "text/json",
            "application/jsonp",
        ],
    )
    def test_others(self, kind):
        with pytest.raises(Unfit) as caught:
            check_content_type({"content-type": kind})
        assert caught.value.status == 415

    def test_a_browser_must_say_it(self):
        with pytest.raises(Unfit) as caught:
            check_content_type({"origin": "http://localhost"})
        assert caught.value.status == 415


class TestJson:
    @pytest.mark.parametrize("raw", [
        b"", b"[]", b"1", b'"x"', b"null", b"{", b"{}x", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'{"a":"\xff"}', b'{"a":"\\ud800"}',
        b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"1" * 5000 + b"}", b'{"a":1,}', b'{"a":"\n"}',
    ])  # fmt: skip
    def test_what_is_no_object_is_refused(self, raw):
        with pytest.raises(BadRequest):
            json_object(raw)

    @pytest.mark.parametrize(("left", "right"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]"), (b"[[],", b"]")])
    @pytest.mark.parametrize("levels", [129, 990, 100_000])
    def test_what_nests_too_deeply_is_refused(self, left, right, levels):
        raw = b'{"a":' + left * levels + b"1" + right * levels + b"}"
        with pytest.raises(BadRequest, match="nests"):
            json_object(raw)

    def test_the_last_level_is_taken(self):
        inner = intake.DEEPEST - 1
        assert json_object(b'{"a":' + b"[" * inner + b"]" * inner + b"}")["a"]
        assert json_object(b'{"a":[' + b"[{}]," * 500 + b"1]}")["a"]

    def test_brackets_in_text_are_text(self):
        text = "[{" * 5000
        assert json_object(json.dumps({"a": text}).encode()) == {"a": text}

    def test_what_has_too_many_parts_is_refused_before_it_is_read(self):
        raw = b'{"a":[' + b"{}," * 20_000_000 + b"1]}"
        began = time.perf_counter()
        with pytest.raises(BadRequest, match="more than 1000000 objects"):
            json_object(raw)
        assert time.perf_counter() - began < 1

    @settings(max_examples=200, deadline=None)
    @given(
        st.recursive(
            st.integers() | st.text('[]{}"\\', max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
            max_leaves=30,
        ),
        st.integers(0, 150),
    )
    def test_depth_is_what_one_counts(self, inner, wrapped):
        def depth(value):
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
            return 0 if parts is None else 1 + max(map(depth, parts), default=0)

        value = {"m": inner}
        for _ in range(wrapped):
            value = {"m": [value, [[]] * 70]}
        raw = json.dumps(value).encode()
        if depth(value) > intake.DEEPEST:
            with pytest.raises(BadRequest, match="nests"):
                json_object(raw)
        elif all(-(2**63) <= n < 2**64 for n in _numbers(value)):
            assert json_object(raw) == value


def _numbers(value):
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)


class TestTheDoor:
    """The same, asked through the app."""

    async def test_statuses(self, upstream):
        async with app_of(upstream.url) as app:
            body = json.dumps(said()).encode()
            json_kind = {**BEARER, "content-type": "application/json"}
            for headers, pieces, status in [
                (json_kind, [body], 200),
                (BEARER, [body], 200),
                ({**json_kind, "content-encoding": "gzip"}, [gzip.compress(body)], 200),
                ({**json_kind, "content-encoding": "gzip"}, [body], 400),
                ({**json_kind, "content-encoding": "br"}, [body], 415),
                ({**BEARER, "content-type": "text/plain"}, [body], 415),
                (json_kind, [b"[]"], 400),
                (json_kind, [b'{"messages":' + b"[" * 5000 + b"]" * 5000 + b"}"], 400),
                ({**json_kind, "content-length": "67108865"}, [], 413),
            ]:
                answer, _ = await ask_app(app, "POST", CHAT, headers, pieces)
                assert answer.status == status, (headers, answer)
                assert status == 200 or answer.code == "bad_request"
                assert answer.headers["x-content-type-options"] == "nosniff"

    async def test_nothing_is_read_of_who_shows_no_key(self, upstream):
        async with app_of(upstream.url) as app:
            for headers in ({}, {"authorization": "Bearer no"}, {"content-length": "999999999"}):
                answer, asked = await ask_app(app, "POST", CHAT, {**headers, "content-length": "100"}, [b"x" * 100])
                assert (answer.status, answer.headers["connection"], asked) == (401, "close", 0)
