"""Every dialect: the same answer unary and streamed, true usage, the provider's own ends and refusals."""

import json

import aiohttp
import pytest
from simtools import (
    CALLS,
    KEY,
    stream_finish,
    stream_text,
    stream_usage,
    unary_finish,
    unary_text,
    unary_usage,
)

from spillway.sim import LimitSpec, SimConfig, Simulator

LENGTH = {"anthropic": "max_tokens", "gemini": "MAX_TOKENS", "vertex": "MAX_TOKENS"}
STOP = {"anthropic": "end_turn", "gemini": "STOP", "vertex": "STOP"}


async def test_a_stream_says_what_the_unary_answer_says(start, dialect):
    _, asker = await start(seed=3)
    unary = await asker.ask(dialect, "tell me a tale")
    stream = await asker.ask(dialect, "tell me a tale", stream=True)
    assert (unary.status, stream.status) == (200, 200)
    assert unary.headers["content-type"] == "application/json"
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream_text(dialect, stream.events) == unary_text(dialect, unary.json)
    assert stream_usage(dialect, stream.events) == unary_usage(dialect, unary.json)
    assert stream_finish(dialect, stream.events) == unary_finish(dialect, unary.json) == STOP.get(dialect, "stop")


async def test_answers_are_bytes_of_seed_and_question(start, dialect):
    (_, first), (_, again), (_, other) = await start(seed=1), await start(seed=1), await start(seed=2)
    answer = await first.ask(dialect, "what is it")
    assert (await first.ask(dialect, "what is it")).raw == answer.raw
    assert (await again.ask(dialect, "what is it")).raw == answer.raw
    assert (await other.ask(dialect, "what is it")).raw != answer.raw
    assert (await first.ask(dialect, "what is it not")).raw != answer.raw


async def test_usage_is_true_and_a_limit_cuts_without_changing(start, dialect):
    _, asker = await start()
    whole = (await asker.ask(dialect, "12345678 in 20 words")).json
    cut = (await asker.ask(dialect, "12345678 in 20 words", limit=6)).json
    assert unary_usage(dialect, whole) == (5, 20)
    assert unary_usage(dialect, cut) == (5, 6)
    assert len(unary_text(dialect, whole).split()) == 20
    assert unary_text(dialect, whole).startswith(unary_text(dialect, cut))
    assert unary_finish(dialect, cut) == LENGTH.get(dialect, "length")


TERMINATORS = {"anthropic": "message_stop", "gemini": None, "vertex": None}


async def test_streams_end_as_the_provider_ends_them(start, dialect):
    _, asker = await start()
    events = (await asker.ask(dialect, stream=True)).events
    if dialect == "anthropic":
        kinds = [event["type"] for event in events]
        assert kinds[:3] == ["message_start", "content_block_start", "ping"]
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    elif dialect in {"gemini", "vertex"}:
        assert "finishReason" not in events[-2]["candidates"][0]
        assert "finishReason" in events[-1]["candidates"][0]
    else:
        assert events[-1] == "[DONE]"
        assert events[-2]["choices"] == []
        assert all(event["usage"] is None for event in events[(dialect.startswith("azure")) : -2])


async def test_gemini_without_sse_streams_one_array(start):
    simulator, asker = await start()
    path, auth, build = CALLS["gemini"]
    await asker.ask("gemini", "hello", stream=True)
    url = f"{simulator.url}{path}streamGenerateContent"
    async with asker.session.post(url, json=build("hello"), headers=auth(KEY)) as response:
        rows = await response.json()
    assert stream_text("gemini", rows) == unary_text("gemini", (await asker.ask("gemini", "hello")).json)


NO_KEY = {"gemini": 403}
BAD_KEY = {"gemini": (400, "API_KEY_INVALID"), "litellm": (401, "token_not_found_in_db"), "vertex": (401, "UNAUTH")}
BAD_KEY |= {"anthropic": (401, "authentication_error"), "openai": (401, "invalid_api_key")}


async def test_keys_are_refused_in_the_providers_words(start, dialect):
    simulator, asker = await start(valid_keys=frozenset({"sk-sim-good"}))
    assert (await asker.ask(dialect, key="sk-sim-good")).status == 200
    status, word = BAD_KEY.get(dialect, (401, "Access denied"))
    refused = await asker.ask(dialect, key="sk-sim-bad")
    assert refused.status == status
    assert word in refused.raw.decode()
    assert (await asker.ask(dialect, key="")).status == NO_KEY.get(dialect, 401)
    async with asker.session.post(f"{simulator.url}/sim/keys", json={"valid": ["sk-sim-bad"]}) as response:
        assert response.status == 200
    assert (await asker.ask(dialect, key="sk-sim-bad")).status == 200
    assert (await asker.ask(dialect, key="sk-sim-good")).status == status
    simulator.set_valid_keys(None)
    assert (await asker.ask(dialect, key="anything")).status == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"messages": 3, "contents": 3, "model": "m"}', b"[" * 5000]
)
async def test_bad_bodies_are_400_and_the_server_goes_on(start, dialect, body):
    simulator, asker = await start()
    path, auth, _ = CALLS[dialect]
    path += "generateContent" if path.endswith(":") else ""
    async with asker.session.post(simulator.url + path, data=body, headers=auth(KEY)) as response:
        assert response.status == 400
        assert "error" in json.loads(await response.read())
    assert (await asker.ask(dialect)).status == 200


async def test_limit_headers_are_the_providers_own(start):
    _, asker = await start(limits=(LimitSpec(requests_per_minute=10, tokens_per_minute=1000),))
    openai = (await asker.ask("openai", "in 9 words", key="a")).headers
    assert openai["x-ratelimit-remaining-requests"] == "9"
    assert openai["x-ratelimit-remaining-tokens"] == str(1000 - 9 - 3)
    assert openai["x-ratelimit-reset-requests"] == "1m0s"
    azure = (await asker.ask("azure", key="b")).headers
    assert azure["x-ratelimit-reset-tokens"] == "60"
    anthropic = (await asker.ask("anthropic", key="c")).headers
    assert anthropic["anthropic-ratelimit-requests-limit"] == "10"
    assert anthropic["anthropic-ratelimit-tokens-reset"].endswith("Z")
    assert anthropic["request-id"].startswith("req_")
    gemini = (await asker.ask("gemini", key="d")).headers
    assert not [name for name in gemini if "ratelimit" in name.lower()]
    assert (await asker.ask("litellm", key="e")).headers["x-litellm-response-cost"]


WAIT = {"litellm": "retry-after", "openai": "retry-after-ms", "azure": "retry-after", "anthropic": "retry-after"}


async def test_over_the_limit_is_the_providers_429(start, dialect):
    simulator, asker = await start(limits=(LimitSpec(requests_per_minute=1),))
    assert (await asker.ask(dialect)).status == 200
    over = await asker.ask(dialect)
    assert over.status == 429
    if dialect in WAIT:
        assert 0 < int(over.headers[WAIT[dialect]]) <= 60_000
    if dialect == "gemini":
        kinds = {detail["@type"].rpartition(".")[2]: detail for detail in over.json["error"]["details"]}
        assert 59 < float(kinds["RetryInfo"]["retryDelay"].rstrip("s")) <= 60
    assert simulator.stats()["over_limit"] == simulator.stats()["rejected"] == 1
    assert (await asker.ask(dialect, key="another")).status == 200


async def test_short_windows_let_the_rest_of_a_minute_through():
    now = 100.0
    limits = (LimitSpec(key="k", requests_per_minute=120, window_s=1.0),)
    async with Simulator(SimConfig(limits=limits), clock=lambda: now) as simulator, aiohttp.ClientSession() as session:

        async def ask():
            path, auth, build = CALLS["openai"]
            async with session.post(simulator.url + path, json=build("hi"), headers=auth("k")) as response:
                return response.status

        assert [await ask() for _ in range(3)] == [200, 200, 429]
        now = 100.999
        assert await ask() == 429
        now = 101.0
        assert await ask() == 200


async def test_routes_of_nobody(start):
    simulator, asker = await start()
    async with asker.session.post(f"{simulator.url}/v1/nothing", json={}) as response:
        assert response.status == 404
        assert "error" in await response.json()
    async with asker.session.get(f"{simulator.url}/v1/messages", headers={"x-api-key": "k"}) as response:
        assert response.status == 405
        assert (await response.json())["type"] == "error"
    assert simulator.stats()["asked"] == 0


@pytest.mark.parametrize(("version", "status"), [("2023-06-01", 200), ("2026-10-21", 400)])
async def test_anthropic_versions_differ_in_sampling(start, version, status):
    simulator, asker = await start()
    body = CALLS["anthropic"][2]("hi") | {"temperature": 1.0}
    headers = {"x-api-key": KEY, "anthropic-version": version}
    async with asker.session.post(f"{simulator.url}/v1/messages", json=body, headers=headers) as response:
        assert response.status == status


async def test_missing_models_and_litellm_keys(start):
    _, asker = await start()
    assert (await asker.ask("openai", model="missing-model")).json["error"]["code"] == "model_not_found"
    assert (await asker.ask("anthropic", model="missing-model")).json["error"]["type"] == "not_found_error"
    assert "x-litellm-call-id" in (await asker.ask("openai", key="sk-litellm-1")).headers


async def test_embeddings_and_counts(start):
    simulator, asker = await start()
    headers = {"Authorization": f"Bearer {KEY}", "x-goog-api-key": KEY, "x-api-key": KEY}

    async def post(path, body):
        async with asker.session.post(simulator.url + path, json=body, headers=headers) as response:
            assert response.status == 200
            return await response.json()

    plain = await post("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 4})
    assert [len(row["embedding"]) for row in plain["data"]] == [4, 4]
    assert plain["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    many = {"model": "text-embedding-3-small", "input": "one", "dimensions": 2**31}
    async with asker.session.post(f"{simulator.url}/v1/embeddings", json=many, headers=headers) as response:
        assert response.status == 400
    packed = await post(
        "/v1/embeddings",
        {"model": "text-embedding-3-small", "input": "one", "dimensions": 4, "encoding_format": "base64"},
    )
    assert isinstance(packed["data"][0]["embedding"], str)
    rows = [{"content": {"parts": [{"text": "one"}]}, "outputDimensionality": 3}]
    batch = await post("/v1beta/models/gemini-embedding-001:batchEmbedContents", {"requests": rows})
    assert len(batch["embeddings"][0]["values"]) == 3
    count = await post("/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "12345"}]})
    assert count == {"input_tokens": 2}
    for path in ("/v1/models", "/v1beta/models", "/openai/v1/models"):
        async with asker.session.get(simulator.url + path, headers=headers) as response:
            assert response.status == 200
