"""A provider quoted the key that it did not like in an event of a stream, and the error told it on.

What a refusal says was masked, what an answer says was not: an error inside a 200, an event that could not be read, a
line that broke HTTP. And where the text was cut, what was left of the key no longer looked like one.
"""

import json

import pytest

import spillway
from spillway.testing.byte_server import ByteServer, Do, answer

KEY = "nothing-that-looks-like-a-key"
EVENTS = {"content-type": "text/event-stream"}


@pytest.mark.parametrize(
    "said",
    [
        answer(b"data: %s\n\n" % json.dumps({"error": {"message": f"not {KEY}"}}).encode(), headers=EVENTS),
        answer(b"data: {oops %s\n\n" % KEY.encode(), headers=EVENTS),
        answer(b"data: {oops %s %s\n\n" % (b"x" * 175, KEY.encode()), headers=EVENTS),
        answer(json.dumps({"error": {"message": f"not {KEY}"}}).encode()),
        answer(json.dumps({"error": {"message": "x" * 280 + f" {KEY}"}}).encode(), 400),
        b"HTTP/1.1 " + KEY.encode() + b"\r\n\r\n",
        answer(b"", headers={"content-encoding": KEY}),
    ],
    ids=["event", "no JSON", "cut", "200", "400, cut", "status line", "coding"],
)
async def test_key_is_in_no_error(said):
    async with ByteServer([Do.READ, said]) as server:
        deployment = spillway.Deployment(
            name="m",
            runtime="openai",
            runtime_config=spillway.OpenAiConfig(endpoint=server.url, api_key=spillway.Secret(KEY)),
            retry=spillway.RetryPolicy(max_retries=0),
            pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0),
        )
        async with spillway.Cluster([deployment], environ={}) as cluster:
            with pytest.raises(spillway.InferenceError) as caught:
                async for _ in cluster.stream("m", "Say hello"):
                    pass
        one = caught.value
        while one is not None:
            shown = f"{one} {one!r} {vars(one)}"
            assert not any(KEY[at : at + 8] in shown for at in range(len(KEY) - 7))
            one = one.__cause__ or one.__context__
