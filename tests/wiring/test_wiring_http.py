"""What only the wire shows: addresses, keys, headers, proxies, certificates; servers on loopback, nothing waits long."""

import json
import socket
import ssl
import sys

import pytest
import trustme
from stage import ended

import spillway
from spillway import AnthropicConfig, GeminiConfig, HttpConfig, LiteLlmConfig, OpenAiConfig, Secret, SecretRef, Timeouts
from spillway.providers.gemini.config import SafetySetting
from spillway.testing.byte_server import ByteServer, Do, answer

KEY = Secret("sk-test")
CHAT = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()
OK = [Do.READ, answer(CHAT, headers={"content-type": "application/json"})]
NO = [Do.READ, answer(b"{}", 400)]


def cluster_of(config=None, *, environ=None, **options):
    options.setdefault("pricing", spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0))
    options.setdefault("retry", spillway.RetryPolicy(max_retries=0))
    options.setdefault("name", "m")
    options.setdefault("runtime", "openai")
    return spillway.Cluster([spillway.Deployment(runtime_config=config, **options)], environ=environ or {})


async def told(server, config, **options):
    """What a server that refuses everything was sent."""
    async with cluster_of(config, **options) as cluster:
        await ended(cluster.generate(options.get("name", "m"), "hi"))
    return b"".join(bytes(c.received) for c in server.conversations).decode("latin-1").lower()


@pytest.mark.option("runtime_config", "runtime_config.endpoint", "runtime_config.api_key", "name")
async def test_a_deployment_asks_its_endpoint_with_its_key():
    async with ByteServer(OK) as server, cluster_of(OpenAiConfig(endpoint=server.url, api_key=KEY)) as cluster:
        answered = await cluster.generate("m", "hi")
        assert (answered.text, answered.deployment, answered.usage.output_tokens) == ("hello", "m", 2)
        received = bytes(server.conversations[0].received)
        assert received.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b"authorization: bearer sk-test" in received.lower()
        assert b'"model":"m"' in received


@pytest.mark.option("model")
@pytest.mark.parametrize(("model", "asked"), [(None, "m"), ("gpt-9", "gpt-9")])
async def test_the_provider_is_asked_for_its_own_name_of_the_model(model, asked):
    async with ByteServer(NO) as server:
        assert f'"model":"{asked}"' in await told(server, OpenAiConfig(endpoint=server.url, api_key=KEY), model=model)


@pytest.mark.option("runtime")
@pytest.mark.parametrize(
    ("runtime", "config", "path"),
    [
        ("openai", OpenAiConfig, "/chat/completions"),
        ("anthropic", AnthropicConfig, "/v1/messages"),
        ("gemini", GeminiConfig, "/v1beta/models/m:generatecontent"),
        ("litellm", LiteLlmConfig, "/chat/completions"),
        (None, AnthropicConfig, "/v1/messages"),
    ],
)
async def test_each_runtime_speaks_its_own_wire(runtime, config, path):
    async with ByteServer(NO) as server:
        root = server.url.removesuffix("/v1")
        assert f"{path} http/1.1" in await told(server, config(endpoint=root, api_key=KEY), runtime=runtime)


async def test_the_runtime_follows_from_the_model():
    async with ByteServer(NO) as server:
        config = spillway.Deployment(
            name="claude-haiku-4-5", runtime_config=AnthropicConfig(endpoint=server.url[:-3], api_key=KEY)
        )
        async with spillway.Cluster([config], environ={}) as cluster:
            await ended(cluster.generate("claude-haiku-4-5", "hi"))
        assert b"POST /v1/messages" in bytes(server.conversations[0].received)


async def test_a_key_is_read_from_where_it_is_kept(tmp_path):
    (tmp_path / "key").write_text("sk-file\n")
    sources = [
        (SecretRef(from_env="KEY"), "sk-env"),
        (SecretRef(from_file=str(tmp_path / "key")), "sk-file"),
        (SecretRef(from_command=("printf", "sk-command")), "sk-command"),
        (None, "sk-usual"),
    ]
    for source, key in sources:
        async with ByteServer(NO) as server:
            environ = {"KEY": "sk-env", "OPENAI_API_KEY": "sk-usual"}
            config = OpenAiConfig(endpoint=server.url, api_key=source)
            assert f"bearer {key}" in await told(server, config, environ=environ)


@pytest.mark.option(
    "openai.organization",
    "openai.project",
    "openai.variant",
    "openai.deployment",
    "openai.api_version",
    "openai.api",
    "openai.auth",
    "anthropic.anthropic_version",
    "anthropic.beta",
    "anthropic.default_max_tokens",
    "gemini.variant",
    "gemini.project",
    "gemini.region",
    "gemini.safety",
    "litellm.tags",
)
@pytest.mark.parametrize(
    ("runtime", "kind", "given", "option", "seen"),
    [
        ("openai", OpenAiConfig, {}, {"organization": "org-1"}, "openai-organization: org-1"),
        ("openai", OpenAiConfig, {}, {"project": "proj-1"}, "openai-project: proj-1"),
        ("openai", OpenAiConfig, {}, {"variant": "azure"}, "api-key: sk-test"),
        ("openai", OpenAiConfig, {"variant": "azure"}, {"deployment": "mine"}, '"model":"mine"'),
        ("openai", OpenAiConfig, {"variant": "azure"}, {"api_version": "2024-10-21"}, "api-version=2024-10-21"),
        ("openai", OpenAiConfig, {}, {"api": "responses"}, "post /responses "),
        ("openai", OpenAiConfig, {"variant": "azure"}, {"auth": "entra"}, "authorization: bearer sk-test"),
        ("anthropic", AnthropicConfig, {}, {"anthropic_version": "2023-06-01"}, "anthropic-version: 2023-06-01"),
        ("anthropic", AnthropicConfig, {}, {"beta": ("b-1", "b-2")}, "anthropic-beta: b-1,b-2"),
        ("anthropic", AnthropicConfig, {}, {"default_max_tokens": 77}, '"max_tokens":77'),
        ("gemini", GeminiConfig, {}, {"variant": "vertex"}, "/publishers/google/"),
        ("gemini", GeminiConfig, {"variant": "vertex", "region": "eu"}, {"project": "p"}, "/projects/p/"),
        ("gemini", GeminiConfig, {"variant": "vertex", "project": "p"}, {"region": "europe-west4"}, "/europe-west4/"),
        ("gemini", GeminiConfig, {}, {"safety": (SafetySetting(category="C", threshold="T"),)}, '"category":"c"'),
        ("litellm", LiteLlmConfig, {}, {"tags": ("a", "b")}, "x-litellm-tags: a,b"),
    ],
)
async def test_each_option_of_a_provider_is_on_the_wire(runtime, kind, given, option, seen):
    for extra in (option, {}):
        async with ByteServer(NO) as server:
            config = kind(endpoint=server.url.removesuffix("/v1"), api_key=KEY, **given, **extra)
            assert (seen in await told(server, config, runtime=runtime)) == bool(extra)


@pytest.mark.option("openai.resource", "http.proxy")
async def test_a_proxy_is_asked_to_connect_to_the_resource():
    async with ByteServer([Do.READ, answer(b"", 502)]) as proxy:
        config = OpenAiConfig(variant="azure", resource="mine", api_key=KEY)
        sent = await told(proxy, config, http=HttpConfig(proxy=f"http://127.0.0.1:{proxy.port}"))
        assert sent.startswith("connect mine.openai.azure.com:443 http/1.1")


@pytest.mark.option("http.ca_file")
async def test_only_the_authorities_given_are_trusted(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with ByteServer(OK, tls=context) as server:
        config = OpenAiConfig(endpoint=server.url, api_key=KEY)
        async with cluster_of(config) as cluster:
            error, _ = await ended(cluster.generate("m", "hi"))
            assert (error.code, error.reason) == ("network_error", "certificate")
        async with cluster_of(config, http=HttpConfig(ca_file=str(tmp_path / "ca.pem"))) as cluster:
            assert (await cluster.generate("m", "hi")).text == "hello"


@pytest.mark.option("http.http2")
@pytest.mark.parametrize("http2", [False, True])
async def test_the_protocol_is_what_tls_negotiates_with_http2_and_http_1_1_without(http2, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with ByteServer([Do.STALL], tls=context) as server:
        config = OpenAiConfig(endpoint=server.url, api_key=KEY)
        http = HttpConfig(http2=http2, ca_file=str(tmp_path / "ca.pem"))
        async with cluster_of(config, http=http) as cluster:
            await ended(cluster.generate("m", "hi", timeout_s=0.3))
        received = bytes(server.conversations[0].received)
        assert received.startswith(b"PRI * HTTP/2.0\r\n" if http2 else b"POST /v1/chat/completions HTTP/1.1\r\n")


async def test_a_key_file_of_vertex_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.auth.crypt", None)
    config = GeminiConfig(variant="vertex", project="p", region="eu", credentials=Secret("{}"))
    with pytest.raises(spillway.ConfigError, match="vertex"):
        await cluster_of(config, runtime="gemini").start()


@pytest.mark.option("timeouts.connect_timeout_s")
@pytest.mark.parametrize("limit", [0.05, 0.15])
async def test_a_connection_that_nobody_takes_costs_the_connect_timeout(limit):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            config = OpenAiConfig(endpoint=f"http://127.0.0.1:{port}/v1", api_key=KEY)
            async with cluster_of(config, timeouts=Timeouts(connect_timeout_s=limit)) as cluster:
                error, took = await ended(cluster.generate("m", "hi"))
            assert (error.code, error.reason, error.sent) == ("timeout", "connect", False)
            assert limit <= took < limit + 0.5
        finally:
            for filler in fillers:
                filler.close()


async def test_a_stream_left_early_closes_its_socket():
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    event = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    async with ByteServer([Do.READ, head + b"%x\r\n%s\r\n" % (len(event), event), Do.STALL]) as server:
        async with cluster_of(OpenAiConfig(endpoint=server.url, api_key=KEY)) as cluster:
            stream = cluster.stream("m", "hi")
            assert (await anext(stream)).text_delta == "a"
            del stream
            assert await server.conversations[0].gone_within(0.1)
