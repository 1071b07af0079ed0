"""OpenAI and Azure through a Cluster: names of requests, both APIs, tokens of Entra, vectors, counts."""

import json
import re

import pytest
from stage import ended, retry

import spillway
from spillway import OpenAiConfig, Secret, SecretRef
from spillway.sim import SimConfig, Simulator
from spillway.testing.byte_server import ByteServer, Do, answer

KEY = Secret("sk-test")
JSON = {"content-type": "application/json"}
CHAT = b'{"id":"c","choices":[{"message":{"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
RESPONSE = {"id": "resp_1", "object": "response", "model": "gpt-6-luna"}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
TRAINS = {"type": "function", "function": {"name": "trains", "parameters": {"type": "object", "properties": {}}}}


def cluster_of(config, *, environ=None, name="gpt-6-luna", **options):
    options.setdefault("pricing", spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0))
    options.setdefault("retry", spillway.RetryPolicy(max_retries=0))
    deployment = spillway.Deployment(name=name, runtime="openai", runtime_config=config, **options)
    return spillway.Cluster([deployment], environ=environ or {})


def sent_of(server, name):
    """The values of a header, request by request."""
    text = b"".join(bytes(one.received) for one in server.conversations).decode("latin-1")
    return re.findall(rf"^{name}: (.*)\r$", text, re.MULTILINE | re.IGNORECASE)


@pytest.mark.parametrize("how", ["generate", "stream", "embed"])
async def test_all_attempts_of_a_request_have_one_name_and_the_next_has_another(how):
    bad = [Do.READ, answer(b'{"error":{"message":"x"}}', 500, JSON)]
    vectors = b'{"data":[{"index":0,"embedding":[1]}],"usage":{"prompt_tokens":1}}'
    good = [Do.READ, answer(vectors if how == "embed" else CHAT, headers=JSON)]

    async def ask(cluster):
        if how == "stream":
            return [chunk async for chunk in cluster.stream("m", "hi")]
        return await (cluster.generate("m", "hi") if how == "generate" else cluster.embed("m", "hi"))

    policy = retry(max_retries=2, initial_backoff_s=0.001)
    async with ByteServer([*bad, *bad, *good, *good]) as server:
        config = OpenAiConfig(endpoint=server.url, api_key=KEY)
        async with cluster_of(config, name="m", retry=policy) as cluster:
            assert await ask(cluster)
            assert await ask(cluster)
        keys, ids = sent_of(server, "idempotency-key"), sent_of(server, "x-client-request-id")
        assert keys == ids
        assert keys[0] == keys[1] == keys[2] != keys[3]
        assert all(keys)
        assert sent_of(server, "x-spillway-attempt") == ["0", "1", "2", "0"]


async def test_a_caller_may_name_a_request():
    async with ByteServer([Do.READ, answer(CHAT, headers=JSON)]) as server:
        async with cluster_of(OpenAiConfig(endpoint=server.url, api_key=KEY), name="m") as cluster:
            await cluster.generate("m", "hi", extra_headers={"Idempotency-Key": "mine"})
        assert sent_of(server, "idempotency-key") == ["mine"]


@pytest.mark.option("openai.api")
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_both_apis_give_the_same_kind_of_answer(api):
    async with Simulator(SimConfig(seed=5)) as sim:
        config = OpenAiConfig(endpoint=f"{sim.url}/v1", api=api, api_key=KEY)
        async with cluster_of(config) as cluster:
            prompt = "call weather and trains"
            said = await cluster.generate("gpt-6-luna", prompt, tools=[WEATHER, TRAINS], reasoning_effort="low")
            assert [call.name for call in said.tool_calls] == ["weather", "trains"]
            assert said.finish_reason is spillway.FinishReason.TOOL_CALLS
            assert said.usage.reasoning_tokens > 0
            assert said.about["model"] == "gpt-6-luna"
            results = [{"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in said.tool_calls]
            history = [{"role": "user", "content": prompt}, said.message(), *results]
            last = await cluster.generate("gpt-6-luna", history, tools=[WEATHER, TRAINS], reasoning_effort="low")
            assert last.text
        path = "/v1/responses" if api == "responses" else "/v1/chat/completions"
        assert sim.stats()["by_path"] == {path: 2}


async def test_reasoning_that_came_encrypted_goes_back_where_it_stood():
    whole = {
        **RESPONSE,
        "status": "completed",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
            {"type": "function_call", "id": "fc", "call_id": "c", "name": "weather", "arguments": "{}"},
        ],
    }
    reply = [Do.READ, answer(json.dumps(whole).encode(), headers=JSON)]
    async with ByteServer([*reply, *reply]) as server:
        async with cluster_of(OpenAiConfig(endpoint=server.url, api="responses", api_key=KEY)) as cluster:
            said = await cluster.generate("gpt-6-luna", "hi")
            result = {"role": "tool", "tool_call_id": "c", "content": "fine"}
            await cluster.generate("gpt-6-luna", [{"role": "user", "content": "hi"}, said.message(), result])
        bodies = [json.loads(body) for body in re.findall(rb"\{.*\}", bytes(server.conversations[0].received))]
        assert (bodies[0]["store"], bodies[0]["include"]) == (False, ["reasoning.encrypted_content"])
        assert bodies[1]["input"][1:] == [
            whole["output"][0],
            {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "fine"},
        ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_fails_with_status_200_is_tried_again(stream):
    failed = {**RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "oh"}, "output": []}
    fine = {
        **RESPONSE,
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "hello"}]}],
    }
    replies = []
    for whole in (failed, fine):
        if stream:
            event = json.dumps({"type": f"response.{whole['status']}", "response": whole}).encode()
            replies += [Do.READ, answer(b"data: " + event + b"\n\n", headers={"content-type": "text/event-stream"})]
        else:
            replies += [Do.READ, answer(json.dumps(whole).encode(), headers=JSON)]
    async with ByteServer(replies) as server:
        config = OpenAiConfig(endpoint=server.url, api="responses", api_key=KEY)
        async with cluster_of(config, retry=retry(initial_backoff_s=0.001)) as cluster:
            if stream:
                text = "".join([chunk.text_delta async for chunk in cluster.stream("gpt-6-luna", "hi")])
            else:
                text = (await cluster.generate("gpt-6-luna", "hi")).text
            assert text == "hello"


async def test_what_the_responses_api_has_not_is_refused_or_left_out_and_told():
    async with Simulator(SimConfig(seed=1)) as sim:
        config = OpenAiConfig(endpoint=f"{sim.url}/v1", api="responses", api_key=KEY)
        async with cluster_of(config) as strict, cluster_of(config, unsupported="warn") as lenient:
            error, _ = await ended(strict.generate("gpt-6-luna", "hi", seed=1))
            assert (error.code, error.param) == ("bad_request", "seed")
            answered = await lenient.generate("gpt-6-luna", "hi", seed=1)
            assert [warning.partition(":")[0] for warning in answered.warnings] == ["seed"]


@pytest.mark.option("openai.auth")
async def test_a_token_of_entra_is_read_again_when_it_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("old-token\n")
    async with Simulator(SimConfig(seed=1, valid_keys=frozenset({"old-token"}))) as sim:
        config = OpenAiConfig(
            variant="azure", endpoint=sim.url, auth="entra", api_key=SecretRef(from_file=str(path)), api="responses"
        )
        async with cluster_of(config) as cluster:
            assert (await cluster.generate("gpt-6-luna", "hi")).text
            sim.set_valid_keys(frozenset({"new-token"}))
            path.write_text("new-token\n")
            assert (await cluster.generate("gpt-6-luna", "hi")).text


@pytest.mark.parametrize(
    ("auth", "header"), [("api_key", "api-key: sk-usual"), ("entra", "authorization: bearer token")]
)
async def test_the_usual_variables_of_azure(auth, header):
    environ = {"AZURE_OPENAI_API_KEY": "sk-usual", "AZURE_OPENAI_AD_TOKEN": "token"}
    async with ByteServer([Do.READ, answer(b"{}", 400)]) as server:
        config = OpenAiConfig(variant="azure", endpoint=server.url.removesuffix("/v1"), auth=auth)
        async with cluster_of(config, environ=environ) as cluster:
            await ended(cluster.generate("gpt-6-luna", "hi"))
        assert header in bytes(server.conversations[0].received).decode().lower()


async def test_azures_filter_tells_what_it_found():
    async with Simulator(SimConfig(seed=1)) as sim:
        async with cluster_of(OpenAiConfig(variant="azure", endpoint=sim.url, api_key=KEY)) as cluster:
            error, _ = await ended(
                cluster.generate("gpt-6-luna", "hi", extra_headers={"x-sim-fault": "content-filter"})
            )
            assert (error.code, error.results["violence"]["filtered"]) == ("content_filtered", True)
            said = await cluster.generate("gpt-6-luna", "hi")
            assert said.about["prompt_filter_results"][0]["prompt_index"] == 0
            assert said.extra["content_filter_results"]["hate"]["severity"] == "safe"
            last = await cluster.generate("gpt-6-luna", [{"role": "user", "content": "hi"}, said.message()])
            assert last.warnings == ()


async def test_tokens_are_counted_and_cost_nothing():
    async with Simulator(SimConfig(seed=1)) as sim:
        async with cluster_of(OpenAiConfig(endpoint=f"{sim.url}/v1", api_key=KEY)) as cluster:
            image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
            words = {"type": "text", "text": "four"}
            assert await cluster.count_tokens("gpt-6-luna", "four") == 1
            assert await cluster.count_tokens("gpt-6-luna", [{"role": "user", "content": [words, image]}]) == 86
            assert await cluster.count_tokens("gpt-6-luna", "four", tools=[WEATHER]) > 1
        assert sim.stats()["billed_usd"] == 0
        assert sim.stats()["by_path"] == {"/v1/responses/input_tokens": 3}
        async with cluster_of(OpenAiConfig(variant="azure", endpoint=sim.url, api_key=KEY)) as cluster:
            error, _ = await ended(cluster.count_tokens("gpt-6-luna", "hi"))
            assert (error.code, error.param) == ("bad_request", "counts")


async def test_vectors_come_packed_and_in_as_many_requests_as_it_takes():
    async with Simulator(SimConfig(seed=1)) as sim:
        async with cluster_of(OpenAiConfig(endpoint=f"{sim.url}/v1", api_key=KEY), name="text-embedding-3-small") as c:
            many = await c.embed("text-embedding-3-small", ["a", "b"] * 1_025, dimensions=4)
            floats = await c.embed(
                "text-embedding-3-small", ["a", "b"], dimensions=4, extra={"encoding_format": "float"}
            )
            numbers = await c.embed("text-embedding-3-small", [[1, 2, 3]])
        assert many.vectors == floats.vectors * 1_025
        assert numbers.usage.input_tokens == 3
        assert sim.stats()["asked"] == 4
