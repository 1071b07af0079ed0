"""HTTP/2: streams that share a connection, are refused, reset, left; and a Cluster over it (fault F39)."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import pytest
import trustme
from h2_server import answers, breaks_inside, fails, goes_away, refuses, serving, stalls, stalls_inside

import spillway
from spillway.core.errors import NetworkError
from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http import HttpRequest, build_client

CHAT = json.dumps(
    {
        "id": "c1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


class Rig:
    def __init__(self, client, server):
        self.client, self.server = client, server
        self.sent = 0

    async def post(self, body=b"{}"):
        def sent():
            self.sent += 1

        return await self.client.send(HttpRequest("POST", self.server.url, {}, body, sent))

    async def whole(self, body=b"{}"):
        return await (await self.post(body)).read()

    async def error(self):
        with pytest.raises(NetworkError) as caught:
            await (await self.post()).read()
        return caught.value


@pytest.fixture
def rig(authority, ca_file):
    @asynccontextmanager
    async def opened(*script):
        async with serving(authority, *script) as server:
            client = build_client(Timeouts(), "faults/1", http=HttpConfig(http2=True, ca_file=ca_file))
            try:
                async with asyncio.timeout(10):
                    yield Rig(client, server)
            finally:
                await client.aclose()

    return opened


async def soon(met):
    for _ in range(50):
        if met():
            return
        await asyncio.sleep(0.01)
    assert met()


async def test_streams_share_a_connection(rig):
    async with rig(answers(b"hello")) as here:
        first = await here.whole()
        rest = await asyncio.gather(*(here.whole(b"%d" % n) for n in range(20)))
        assert [first, *rest] == [b"hello"] * 21
        assert len(here.server.peers) == 1 and here.sent == 21
        assert sorted(here.server.requests) == sorted([b"{}", *(b"%d" % n for n in range(20))])


async def test_a_large_body_goes_through_the_flow_control(rig):
    body = bytes(range(256)) * 4096
    async with rig(answers(b"ok")) as here:
        assert await here.whole(body) == b"ok"
        assert here.server.requests == [body]


async def test_a_refused_stream_is_sent_once_more(rig):
    async with rig(refuses, answers(b"hello")) as here:
        assert await here.whole() == b"hello"
        assert len(here.server.requests) == 2 and here.sent == 1


async def test_a_storm_of_refusals_is_bounded(rig):
    async with rig(refuses) as here:
        error = await here.error()
        assert (error.reason, error.retryable, error.sent) == ("reset", True, True)
        assert len(here.server.requests) == 2


async def test_a_stream_that_may_have_been_processed_is_not_sent_again(rig):
    async with rig(fails, answers(b"hello")) as here:
        error = await here.error()
        assert (error.reason, error.retryable) == ("reset", True)
        assert "INTERNAL_ERROR" in str(error)
        assert len(here.server.requests) == 1


async def test_a_connection_that_goes_away_is_replaced_and_what_it_did_not_take_up_sent_there(rig):
    async with rig(answers(b"1"), goes_away, answers(b"2")) as here:
        assert [await here.whole(b"a"), await here.whole(b"b")] == [b"1", b"2"]
        assert here.server.requests == [b"a", b"b", b"b"] and len(here.server.peers) == 2


async def test_a_reset_inside_the_answer(rig):
    async with rig(breaks_inside) as here:
        response = await here.post()
        got = b""
        with pytest.raises(NetworkError) as caught:
            while piece := await response.read_some():
                got += piece
        assert caught.value.reason == "reset" and got in {b"", b"abc"}


@pytest.mark.parametrize("step", [stalls, stalls_inside], ids=["before the head", "inside the answer"])
async def test_who_leaves_resets_the_stream_and_keeps_the_connection(rig, step):
    async with rig(step, answers(b"hello")) as here:

        async def ask():
            response = await here.post()
            await response.read()

        asking = asyncio.ensure_future(ask())
        await soon(lambda: here.server.requests)
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.wait([asking])
        await soon(lambda: here.server.peers[0].resets)
        assert await here.whole() == b"hello"
        assert len(here.server.peers) == 1


async def test_a_cluster_over_http2(authority, ca_file):
    async with serving(authority, refuses, fails, answers(CHAT)) as server:
        deployment = spillway.Deployment(
            name="m",
            runtime="openai",
            runtime_config=spillway.OpenAiConfig(endpoint=server.url, api_key=spillway.Secret("sk-test")),
            http=spillway.HttpConfig(http2=True, ca_file=ca_file),
            retry=spillway.RetryPolicy(initial_backoff_s=0.01),
            pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0),
        )
        async with spillway.Cluster([deployment]) as cluster:
            # Refused and sent once more, reset, and then retried by the retry engine.
            answer = await cluster.generate("m", "hi")
            assert (answer.text, answer.attempts) == ("hello", 2)
            assert len(server.requests) == 3 and len(server.peers) == 1
            assert all(json.loads(body)["model"] == "m" for body in server.requests)


async def test_without_the_extra_one_line_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyqwest", None)
    for name in ("spillway.remote.http.pyqwest_client", "spillway.remote.http.pyqwest_errors"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(spillway.ConfigError, match=r"http\.http2: .*spillway\[http2\]"):
        build_client(Timeouts(), "faults/1", http=HttpConfig(http2=True))
