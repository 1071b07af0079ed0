"""What is still under way after 30 s is told that it is over; in virtual time."""

import asyncio

import pytest
from running_rig import outcome

import spillway
from spillway.gateway import create_app
from spillway.gateway.stopping import DRAIN_S, Stop, drain
from spillway.testing import Reply, ScriptedRunner, run_virtual


async def call(app, body, sent):
    """One chat completion through the app; its messages go to `sent`."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        return await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "http_version": "1.1",
        "client": ("127.0.0.1", 1), "raw_path": b"/v1/chat/completions",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
    }  # fmt: skip
    await app(scope, receive, send)


@pytest.mark.parametrize(
    ("reply", "stream", "ends", "after"),
    [
        (Reply(text="x" * 50, chunks=50, chunk_delay_s=1.0), True, "error", DRAIN_S),
        (Reply(text="x" * 20, chunks=20, chunk_delay_s=1.0), True, "done", 19.0),
        (Reply(hang=True), True, 429, DRAIN_S),
        (Reply(hang=True), False, 429, DRAIN_S),
        (Reply(delay_s=29.0), False, 200, 29.0),
    ],
)
def test_it_waits_thirty_seconds(reply, stream, ends, after):
    async def main():
        cluster = spillway.Cluster(
            [spillway.Deployment(name="m", pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0))],
            runners={"m": lambda _d: ScriptedRunner([reply])},
            environ={},
        )
        app = create_app(cluster)
        async with cluster:
            sent = []
            flag = b"true" if stream else b"false"
            body = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":' + flag + b"}"
            calling = asyncio.ensure_future(call(app, body, sent))
            await asyncio.sleep(0.001)
            began = asyncio.get_running_loop().time()
            ended = await drain(app, Stop())
            took = asyncio.get_running_loop().time() - began
            await calling
        whole = b"".join(message.get("body", b"") for message in sent)
        assert took == pytest.approx(after, abs=0.5)
        assert ended == (after == DRAIN_S)
        if isinstance(ends, int):
            assert sent[0]["status"] == ends, whole
        else:
            assert outcome(whole) == ends
        assert not sent[-1].get("more_body", False)

    run_virtual(main())
