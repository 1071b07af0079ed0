"""Reports of errors that hold every frame's local variables held the key too.

Error trackers keep the locals of all frames of an exception. Those of the HTTP library held the headers of the request,
those of the credentials' reader the key that it could not use, and a decoding error the bytes of it.
"""

import traceback

import pytest

import spillway
from spillway.core.secrets import SecretRef
from spillway.testing.byte_server import ByteServer, Do

KEY = "sk-" + "very-secret" * 3


def frames(error):
    left, lines = [error], []
    while left:
        one = left.pop()
        lines += traceback.TracebackException(type(one), one, one.__traceback__, capture_locals=True).format(
            chain=False
        )
        left += [e for e in (one.__cause__, one.__context__) if e is not None]
    return "".join(lines)


async def error_of(url, config, **options):
    deployment = spillway.Deployment(
        name="m",
        runtime="openai",
        runtime_config=config(url),
        retry=spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.001),
        pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0),
        **options,
    )
    async with spillway.Cluster([deployment], environ={}) as cluster:
        with pytest.raises(spillway.InferenceError) as caught:
            await cluster.generate("m", "Say hello", timeout_s=0.3)
    return caught.value


@pytest.mark.parametrize("steps", [[Do.RST], [Do.STALL], [b"HTTP/1.1 abc\r\n\r\n"]], ids=["reset", "stall", "rubbish"])
@pytest.mark.parametrize("http2", [False, True])
async def test_frames_of_the_http_library(steps, http2):
    async with ByteServer([Do.READ, *steps]) as server:
        error = await error_of(
            server.url,
            lambda url: spillway.OpenAiConfig(endpoint=url, api_key=spillway.Secret(KEY)),
            http=spillway.HttpConfig(http2=http2),
        )
        assert ("pyqwest_client" if http2 else "aiohttp") in frames(error) or error.__cause__ is not None
        assert "very-secret" not in frames(error)
        assert KEY.encode() in bytes(server.conversations[0].received)


async def test_frames_below_a_proxy_with_a_password():
    async with ByteServer([Do.READ, Do.RST]) as proxy:
        http = spillway.HttpConfig(proxy=f"http://user:very-secret@127.0.0.1:{proxy.port}")
        error = await error_of(
            "http://provider.test/v1",
            lambda url: spillway.OpenAiConfig(endpoint=url, api_key=spillway.Secret(KEY)),
            http=http,
        )
        assert "very-secret" not in frames(error)
        assert "very-secret" not in repr(http)
        assert b"proxy-authorization: basic dxnlcjp2" in bytes(proxy.conversations[0].received).lower()


@pytest.mark.parametrize("content", [f"{KEY}\n{KEY}".encode(), f'{{"key": "{KEY}'.encode(), KEY.encode() + b"\xff"])
async def test_frames_of_the_reader_of_a_file(content, tmp_path):
    path = tmp_path / "key"
    path.write_bytes(content)
    error = await error_of(
        "http://127.0.0.1:1/v1",
        lambda url: spillway.OpenAiConfig(endpoint=url, api_key=SecretRef(from_file=str(path))),
    )
    del content
    assert isinstance(error, spillway.Unauthorized) and str(path) in str(error)
    assert "very-secret" not in frames(error)
