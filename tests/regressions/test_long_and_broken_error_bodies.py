"""A provider that answers a prompt it filters by quoting all of it seemed to say nothing at all.

An error's body of more than was read, or one whose connection broke, was dropped whole. What of it came is now what it
says: a reader of "HTTP 400 without a message" could not know what was wrong with his request.
"""

import pytest

import spillway
from spillway.testing.byte_server import ByteServer, Do, answer

LONG = b"the prompt was not liked: " + b"x" * (1 << 20)
CUT = b"HTTP/1.1 400 X\r\ncontent-length: 1000\r\n\r\nthe prompt was not liked: x"


@pytest.mark.parametrize(
    "steps", [[answer(LONG, 400)], [CUT, Do.FIN], [CUT, 0.02, Do.RST]], ids=["long", "cut", "reset"]
)
async def test_what_came_of_an_error_is_what_it_says(steps):
    async with ByteServer([Do.READ, *steps]) as server:
        deployment = spillway.Deployment(
            name="m",
            runtime="openai",
            runtime_config=spillway.OpenAiConfig(endpoint=server.url, api_key=spillway.Secret("sk-test")),
            pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0),
        )
        async with spillway.Cluster([deployment], environ={}) as cluster:
            with pytest.raises(spillway.BadRequest) as caught:
                await cluster.generate("m", "Say hello")
            assert caught.value.message.startswith("the prompt was not liked: x")
            assert len(caught.value.message) <= 300 and len(caught.value.body) <= 2048
