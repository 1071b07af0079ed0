"""The simulator over plain HTTP, and a Cluster in front of it in every runtime."""

import asyncio
import http.client
import json
import socket
import urllib.parse

import pytest
from outside import simulator

import spillway

CHAT = "/v1/chat/completions"
STATS = {"asked", "served", "rejected", "over_limit", "billed_usd", "by_key", "by_path", "by_status"}
PRICING = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


def call(sim, method, path, body=None, headers=None, timeout=5.0):
    """One request on a connection of its own; `(status, headers, bytes)`."""
    where = urllib.parse.urlsplit(sim)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=timeout)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def chat(sim, prompt="Say 20 words", *, key="sk-a", fault=None, timeout=5.0, **more):
    headers = {"authorization": f"Bearer {key}"} | ({"x-sim-fault": fault} if fault else {})
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": prompt}], **more}
    return call(sim, "POST", CHAT, body, headers, timeout)


MESSAGES = [{"role": "user", "content": "Say 4 words"}]
ROUTES = {
    "openai": (CHAT, {"authorization": "Bearer k"}, {"model": "gpt-4o-mini", "messages": MESSAGES}),
    "embeddings": ("/v1/embeddings", {"authorization": "Bearer k"}, {"model": "text-embedding-3-small", "input": "x"}),
    "azure": (
        "/openai/deployments/d/chat/completions?api-version=2024-10-21", {"api-key": "k"}, {"messages": MESSAGES},
    ),
    "anthropic": (
        "/v1/messages", {"x-api-key": "k", "anthropic-version": "2023-06-01"},
        {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": MESSAGES},
    ),
    "gemini": (
        "/v1beta/models/gemini-2.5-flash:generateContent", {"x-goog-api-key": "k"},
        {"contents": [{"role": "user", "parts": [{"text": "Say 4 words"}]}]},
    ),
    "gemini stream": (
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", {"x-goog-api-key": "k"},
        {"contents": [{"role": "user", "parts": [{"text": "Say 4 words"}]}]},
    ),
    "vertex": (
        "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-flash:generateContent",
        {"authorization": "Bearer k"}, {"contents": [{"role": "user", "parts": [{"text": "Say 4 words"}]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_every_dialect_is_on_the_one_port(sim, route):
    path, headers, body = ROUTES[route]
    status, _, first = call(sim, "POST", path, body, headers)
    assert status == 200
    assert call(sim, "POST", path, body, headers)[2] == first


def test_answers_are_a_function_of_seed_and_request(sim):
    texts = []
    with simulator("--seed", 1) as one, simulator("--seed", 1) as same:
        for url in (one, same, one):
            texts.append(json.loads(chat(url)[2])["choices"][0]["message"]["content"])
    assert texts == [texts[0]] * 3
    assert json.loads(chat(sim)[2])["choices"][0]["message"]["content"] != texts[0]


def test_usage_is_true(sim):
    body = json.loads(chat(sim, "Say 12 words")[2])
    assert body["usage"]["completion_tokens"] == 12
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 12
    cut = json.loads(chat(sim, "Say 12 words", max_completion_tokens=5)[2])
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5


def test_statistics_have_the_keys_that_are_written_and_can_be_cleared():
    with simulator() as url:
        chat(url)
        chat(url, fault="503")
        stats = json.loads(call(url, "GET", "/sim/stats")[2])
        assert stats.keys() >= STATS
        assert (stats["asked"], stats["served"], stats["rejected"], stats["over_limit"]) == (2, 1, 1, 0)
        assert stats["billed_usd"] > 0
        assert stats["by_key"] == {"sk-a": 2}
        assert stats["by_path"] == {CHAT: 2}
        assert stats["by_status"] == {"200": 1, "503": 1}
        assert call(url, "POST", "/sim/reset")[0] == 200
        stats = json.loads(call(url, "GET", "/sim/stats")[2])
        assert {key: stats[key] for key in STATS} == {
            "asked": 0, "served": 0, "rejected": 0, "over_limit": 0, "billed_usd": 0, "by_key": {}, "by_path": {},
            "by_status": {},
        }  # fmt: skip


REFUSALS = {
    "429": (429, "rate_limit"), "429-retry-after=7": (429, "rate_limit"), "insufficient-quota": (429, "insufficient_quota"),
    "500": (500, "server"), "503": (503, ""), "529": (529, ""), "401": (401, "api key"), "403": (403, ""),
    "content-filter": (400, "content"), "context-length": (400, "context_length_exceeded"),
    "html-error-page": (502, "<html"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refusal(sim, fault, stream):
    status, words = REFUSALS[fault]
    found, headers, body = chat(sim, fault=fault, stream=stream)
    assert found == status
    assert words in body.decode().lower()
    if fault == "429-retry-after=7":
        assert headers["retry-after"] == "7"


def test_a_fault_that_is_none_says_so(sim):
    status, _, body = chat(sim, fault="truncated-steam")
    assert status == 400
    assert b"truncated-stream" in body


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_comes_before_the_headers(sim, stream):
    with pytest.raises(TimeoutError):
        chat(sim, fault="stall-before-headers", timeout=0.15, stream=stream)
    with pytest.raises(ConnectionError):
        chat(sim, fault="reset-before-headers", stream=stream)


def streamed(sim, fault, timeout=5.0):
    """The bytes of a stream, and how it ended."""
    where = urllib.parse.urlsplit(sim)
    body = json.dumps(
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say 20 words"}], "stream": True}
    )
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nx-sim-fault: {fault}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    got = b""
    with socket.create_connection((where.hostname, where.port), timeout) as connection:
        connection.sendall((head + body).encode())
        try:
            while piece := connection.recv(1 << 16):
                got += piece
        except OSError as error:
            return got, type(error)
    return got, None


def test_faults_in_the_middle_of_a_stream(sim):
    got, end = streamed(sim, "stall-mid-stream", timeout=0.15)
    assert end is TimeoutError
    assert b"data: {" in got
    assert b"[DONE]" not in got
    got, end = streamed(sim, "reset-mid-stream")
    assert end is ConnectionResetError
    assert b"data: {" in got
    got, end = streamed(sim, "truncated-stream")
    assert b"data: {" in got
    assert b"[DONE]" not in got
    got, end = streamed(sim, "error-event-mid-stream")
    assert b'"error"' in got
    got, end = streamed(sim, "garbage-json")
    assert b"data: {" in got
    got, end = streamed(sim, "invalid-utf8")
    with pytest.raises(UnicodeDecodeError):
        got.decode()
    assert max(map(len, chat(sim, fault="huge-line", stream=True)[2].split(b"\n"))) > 16 * 2**20
    assert b"[DONE]" in chat(sim, fault="slow-drip=0", stream=True)[2]


def test_limits_are_judged_for_each_key(sim):
    statuses = [chat(sim, key="sk-three")[0] for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    _, headers, _ = chat(sim, key="sk-three")
    assert headers["x-ratelimit-limit-requests"] == "3"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert int(headers["retry-after"]) >= 1
    assert chat(sim, key="sk-other")[0] == 200
    statuses = [chat(sim, "Say 30 words", key="sk-tokens", max_completion_tokens=30)[0] for _ in range(4)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


def test_a_scenario_is_phases(tmp_path):
    (tmp_path / "faults.toml").write_text(
        """
[[phase]]
from_s = 0
to_s = 3600
path = "/v1/chat"
p = 1.0
fault = "503"
[[phase]]
from_s = 3600
to_s = 7200
path = "*"
p = 0.5
fault = "429-retry-after=3"
"""
    )
    with simulator("--scenario", tmp_path / "faults.toml") as url:
        assert chat(url)[0] == 503
        path, headers, body = ROUTES["anthropic"]
        assert call(url, "POST", path, body, headers)[0] == 200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--limit", "k=many,5"], ["k=many,5"]),
        (["--limit", "k"], ["k"]),
        (["--scenario", "nowhere.toml"], ["nowhere.toml"]),
        (["--port", "99999"], ["port"]),
        (["--latency-s", "-1"], ["latency"]),
        (["--prot", "1"], ["--port"]),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(command, options, words):
    code, out, err = command("sim", *options)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words), err


@pytest.mark.parametrize(
    "bad", ["[[phase]]\nfrom_s = 1\n", "[[phase]]\nfault = '50'\n", "[[phase]]\nfualt = '503'\n", "x = "]
)
def test_a_scenario_that_is_none_is_one_line_and_exit_2(tmp_path, command, bad):
    (tmp_path / "s.toml").write_text(bad)
    code, _, err = command("sim", "--port", "0", "--scenario", str(tmp_path / "s.toml"))
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "s.toml" in err


def runtimes(sim):
    key = spillway.Secret("sk-test")
    return {
        "openai": ("gpt-4o-mini", spillway.OpenAiConfig(endpoint=f"{sim}/v1", api_key=key)),
        "azure": (
            "gpt-4o-mini",
            spillway.OpenAiConfig(
                variant="azure", endpoint=sim, deployment="gpt-4o-mini", api_version="2024-10-21", api_key=key
            ),
        ),
        "anthropic": ("claude-haiku-4-5", spillway.AnthropicConfig(endpoint=sim, api_key=key)),
        "gemini": ("gemini-2.5-flash", spillway.GeminiConfig(endpoint=sim, api_key=key)),
        "vertex": (
            "gemini-2.5-flash",
            spillway.GeminiConfig(variant="vertex", endpoint=sim, project="p", region="eu", api_key=key),
        ),
        "litellm": ("gpt-4o-mini", spillway.LiteLlmConfig(endpoint=f"{sim}/litellm/v1", api_key=key, tags=["a"])),
    }


@pytest.mark.parametrize("runtime", ["openai", "azure", "anthropic", "gemini", "vertex", "litellm"])
async def test_a_cluster_speaks_to_it_in_every_runtime(sim, runtime):
    model, config = runtimes(sim)[runtime]
    deployment = spillway.Deployment(name="m", model=model, runtime_config=config, pricing=PRICING)
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    async with spillway.Cluster([deployment]) as cluster:
        tokens = await cluster.generate("m", "Say 6 words", max_tokens=50)
        assert len(tokens.text.split()) == 6
        assert tokens.usage.output_tokens == 6
        assert tokens.finish_reason is spillway.FinishReason.STOP
        assert tokens.cost_usd == pytest.approx((tokens.usage.input_tokens + 12) * 1e-6)
        assert tokens.attempts == 1
        text, usage, reasons = "", None, []
        async for chunk in cluster.stream("m", [{"role": "user", "content": "Say 6 words"}], max_tokens=50):
            text += chunk.text_delta
            usage = chunk.usage or usage
            reasons.append(chunk.finish_reason)
        assert text == tokens.text
        assert (usage.input_tokens, usage.output_tokens) == (tokens.usage.input_tokens, 6)
        assert [reason for reason in reasons if reason] == [spillway.FinishReason.STOP]
        cut = await cluster.generate("m", "Say 20 words", max_tokens=3)
        assert cut.finish_reason is spillway.FinishReason.LENGTH
        called = await cluster.generate("m", "Say 3 words", tools=[tool], tool_choice="required", max_tokens=50)
        assert called.finish_reason is spillway.FinishReason.TOOL_CALLS
        (tool_call,) = called.tool_calls
        assert tool_call.name == "look_up"
        assert tool_call.id
        assert isinstance(json.loads(tool_call.arguments), dict)


WHAT_FAULTS_BECOME = {
    "429": "RateLimited", "insufficient-quota": "QuotaExhausted", "500": "ServerError", "503": "ServerError",
    "529": "ServerError", "401": "Unauthorized", "403": "Forbidden", "content-filter": "ContentFiltered",
    "context-length": "ContextLengthExceeded", "stall-before-headers": "Timeout", "reset-before-headers": "NetworkError",
    "html-error-page": "ServerError", "garbage-json": "ServerError", "truncated-stream": "NetworkError",
}  # fmt: skip


@pytest.mark.parametrize("runtime", ["openai", "anthropic", "gemini"])
async def test_what_each_fault_becomes(sim, runtime):
    model, config = runtimes(sim)[runtime]
    deployment = spillway.Deployment(
        name="m",
        model=model,
        runtime_config=config,
        pricing=PRICING,
        retry=spillway.RetryPolicy(max_retries=0),
        circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=1000, minimum_calls=1000),
        timeouts=spillway.Timeouts(unary_timeout_s=3.0),
    )

    # One Cluster each, since a refused credential or a pause outlasts its request.
    async def outcome(fault):
        async with spillway.Cluster([deployment]) as cluster:
            try:
                await cluster.generate("m", "Say 20 words", extra_headers={"x-sim-fault": fault})
            except spillway.InferenceError as error:
                return error
        return None

    errors = await asyncio.gather(*map(outcome, WHAT_FAULTS_BECOME))
    found = {fault: type(error).__name__ for fault, error in zip(WHAT_FAULTS_BECOME, errors, strict=True)}
    if runtime == "anthropic":
        # It says so in an answer, with the finish reason for it.
        assert found.pop("content-filter") == "NoneType"
    expected = {fault: name for fault, name in WHAT_FAULTS_BECOME.items() if fault in found}
    assert found == expected
    for error in filter(None, errors):
        assert (error.deployment, error.attempts) == ("m", 1)
        assert "sk-test" not in f"{error} {error!r} {error.body}"


@pytest.mark.parametrize(
    "fault", ["reset-mid-stream", "truncated-stream", "stall-mid-stream", "error-event-mid-stream", "garbage-json"]
)
async def test_a_stream_that_breaks_says_so_with_what_came(sim, fault):
    model, config = runtimes(sim)["openai"]
    deployment = spillway.Deployment(
        name="m", model=model, runtime_config=config, pricing=PRICING, timeouts=spillway.Timeouts(idle_timeout_s=0.2)
    )
    async with spillway.Cluster([deployment]) as cluster:
        seen = ""
        with pytest.raises(spillway.StreamInterrupted) as caught:
            async for chunk in cluster.stream("m", "Say 30 words", extra_headers={"x-sim-fault": fault}):
                seen += chunk.text_delta
        assert seen
        assert caught.value.partial.text == seen
        assert caught.value.partial.finish_reason is None
        assert caught.value.__cause__ is not None
