"""Whether providers can be reached is found out before anybody is served, and nothing is asked of them for it."""

import ssl

import pytest
import trustme
from running_rig import project

import spillway
from spillway.gateway.reaching import unreachable
from spillway.testing.byte_server import ByteServer, Do


def deployment(endpoint, name="m", **options):
    config = spillway.OpenAiConfig(endpoint=endpoint, api_key=spillway.Secret("sk-test"))
    return spillway.Deployment(name=name, runtime="openai", runtime_config=config, **options)


@pytest.fixture
def authority(tmp_path):
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ca


@pytest.fixture
def tls(authority):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_a_place_is_connected_to_once_and_asked_nothing():
    async with ByteServer([Do.STALL]) as server:
        assert await unreachable([deployment(server.url), deployment(server.url, "n")]) == []
        (conversation,) = server.conversations
        await conversation.gone.wait()
        assert conversation.received == b""


@pytest.mark.option("http.ca_file", "http.proxy", "timeouts.connect_timeout_s")
async def test_certificates_are_looked_at(tls, tmp_path):
    ours = spillway.HttpConfig(ca_file=str(tmp_path / "ca.pem"))
    async with ByteServer([Do.STALL], tls=tls) as server:
        assert await unreachable([deployment(server.url, http=ours)]) == []
        (doubt,) = await unreachable([deployment(server.url)])
        assert "certificate" in doubt
        for conversation in server.conversations:
            assert conversation.received == b""


async def test_the_proxy_is_asked_for_a_tunnel_and_nothing_more(tls, tmp_path):
    async with ByteServer([Do.READ_HEAD, b"HTTP/1.1 407 No\r\n\r\n", Do.FIN]) as proxy:
        http = spillway.HttpConfig(proxy=f"http://127.0.0.1:{proxy.port}", ca_file=str(tmp_path / "ca.pem"))
        (doubt,) = await unreachable([deployment("https://provider.example/v1", http=http)])
        assert "can't be reached" in doubt
        assert proxy.conversations[0].received.startswith(b"CONNECT provider.example:443 ")


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://127.0.0.1:1/v1", "m: http://127.0.0.1:1 can't be reached: "),
        ("http://no-such-name.invalid/v1", "no-such-name.invalid"),
    ],
)
async def test_what_can_t_be_reached_is_said(endpoint, says):
    (doubt,) = await unreachable([deployment(endpoint)])
    assert says in doubt


async def test_deployments_of_one_place_share_a_line():
    (doubt,) = await unreachable([deployment("http://127.0.0.1:1/v1"), deployment("http://127.0.0.1:1/v1", "n")])
    assert doubt.startswith("m, n: ")


async def test_it_takes_no_longer_than_connecting_may(tls):
    timeouts = spillway.Timeouts(connect_timeout_s=0.2)
    async with ByteServer([Do.STALL]) as server:
        # A server that never speaks TLS.
        endpoint = server.url.replace("http:", "https:")
        (doubt,) = await unreachable([deployment(endpoint, timeouts=timeouts)])
        assert "0.2" in doubt


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"name": "gpt-4o-mini"}, "https://api.openai.com/v1"),
        ({"name": "claude-haiku-4-5"}, "https://api.anthropic.com"),
        ({"name": "gemini-2.5-flash"}, "https://generativelanguage.googleapis.com"),
        ({"name": "litellm/x"}, "http://127.0.0.1:4000/v1"),
        ({"name": "x", "runtime": "openai", "runtime_config": spillway.OpenAiConfig(variant="azure", resource="res")}, "https://res.openai.azure.com"),
        ({"name": "x", "runtime": "gemini", "runtime_config": spillway.GeminiConfig(variant="vertex", project="p", region="europe-west4")}, "https://europe-west4-aiplatform.googleapis.com"),
        ({"name": "x", "runtime": "anthropic", "runtime_config": spillway.AnthropicConfig(endpoint="http://here")}, "http://here"),
    ],
)  # fmt: skip
def test_every_runtime_says_where_it_is(options, url):
    from spillway.providers.registry import endpoint_of

    assert endpoint_of(spillway.Deployment(**options)) == url


async def test_it_serves_all_the_same(serve):
    serving = await serve(project("http://127.0.0.1:1")).up()
    warning, *_ = serving.said.splitlines()
    assert warning.startswith("warning: gpt-4o-mini: http://127.0.0.1:1 can't be reached")
    assert (await serving.ask("GET", "/healthz"))[0] == 200
