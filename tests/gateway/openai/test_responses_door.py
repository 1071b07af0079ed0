"""`POST /v1/responses` before a deployment of each runtime: what is asked arrives, what comes back is a response."""

import json

import msgspec
import pytest
from openai_doors import CITY, EVERY, FLAT, PNG, TRANSLATED, ask, before_simulator, deployments, responded

import spillway
from spillway.gateway.app import Gateway
from spillway.runtime.project import GatewayKey
from spillway.sim import Phase, Scenario, SimConfig, Simulator

FORCED = {"tools": [FLAT], "tool_choice": "auto", "input": "call weather"}
TWO = [FLAT, {**FLAT, "name": "tides"}]
SCHEMA = {"format": {"type": "json_schema", "name": "city", "strict": True, "schema": CITY}}


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


def texts(response):
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


def calls(response):
    return [item for item in response["output"] if item["type"].endswith("_call")]


@pytest.mark.parametrize("model", EVERY)
async def test_a_text_is_answered(model, stream):
    async with before_simulator() as gateway:
        response = await responded(gateway, model, stream=stream)
    assert response["object"] == "response"
    assert response["status"] == "completed"
    assert len(texts(response)) > 10
    usage = response["usage"]
    assert usage["input_tokens"] > 0
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize("model", TRANSLATED)
async def test_the_stream_says_what_the_whole_answer_says(model):
    async with before_simulator() as gateway:
        whole = await responded(gateway, model, instructions="Be brief", input="hello")
        streamed = await responded(gateway, model, stream=True, instructions="Be brief", input="hello")
    assert texts(whole) == texts(streamed)
    assert whole["usage"] == streamed["usage"]
    assert whole.keys() == streamed.keys()


@pytest.mark.parametrize("model", EVERY)
async def test_a_tool_is_called_and_its_result_taken(model, stream):
    async with before_simulator() as gateway:
        first = await responded(gateway, model, stream=stream, **FORCED)
        (call,) = calls(first)
        assert call["type"] == "function_call"
        assert call["name"] == "weather"
        assert json.loads(call["arguments"]).keys() == {"city", "days"}
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        history = [{"role": "user", "content": "call weather"}, *first["output"], result]
        second = await responded(gateway, model, stream=stream, tools=[FLAT], input=history)
    assert second["status"] == "completed"
    assert texts(second)


@pytest.mark.parametrize("model", [name for name in EVERY if name != "gemini-2.5-flash"])
async def test_calls_go_in_parallel(model, stream):
    async with before_simulator() as gateway:
        first = await responded(gateway, model, stream=stream, tools=TWO, input="call weather and tides")
        asked = calls(first)
        assert [call["name"] for call in asked] == ["weather", "tides"]
        assert len({call["call_id"] for call in asked}) == 2
        results = [
            {
                "type": "function_call_output",
                "call_id": call["call_id"],
                "output": [{"type": "input_text", "text": "x"}],
            }
            for call in asked
        ]
        history = [{"role": "user", "content": "call weather and tides"}, *first["output"], *results]
        second = await responded(gateway, model, stream=stream, tools=TWO, input=history)
    assert texts(second)


@pytest.mark.parametrize("model", EVERY)
async def test_a_schema_is_kept(model, stream):
    async with before_simulator() as gateway:
        response = await responded(gateway, model, stream=stream, text=SCHEMA)
    assert json.loads(texts(response)).keys() == {"city", "days"}


@pytest.mark.parametrize("model", TRANSLATED)
async def test_an_image_is_seen(model):
    picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
    said = [{"role": "user", "content": [{"type": "input_text", "text": "what is it?"}, picture]}]
    async with before_simulator() as gateway:
        without = await responded(gateway, model, input="what is it?")
        response = await responded(gateway, model, input=said)
    assert response["usage"]["input_tokens"] > without["usage"]["input_tokens"]


async def test_a_limit_makes_it_incomplete(stream):
    async with before_simulator() as gateway:
        response = await responded(gateway, "gpt-4o-mini", stream=stream, max_output_tokens=3)
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][-1]["status"] == "incomplete"


async def test_a_refusal_is_a_part_of_the_message(stream):
    async with before_simulator() as gateway:
        response = await responded(gateway, "gpt-4o-mini", stream=stream, text=SCHEMA, input="decline to answer")
    assert response["status"] == "completed"
    (message,) = response["output"]
    assert message["content"][0]["type"] == "refusal"
    assert message["content"][0]["refusal"].startswith("I'm sorry")


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "lite"])
async def test_reasoning_comes_and_goes_back_sealed(model, stream):
    model_of = {"lite": "lite", "claude-haiku-4-5": "claude-haiku-4-5"}[model]
    async with before_simulator() as gateway:
        asked = {"reasoning": {"effort": "low", "summary": "auto"}, "tools": [FLAT], "max_output_tokens": 4000}
        first = await responded(gateway, model_of, stream=stream, input="call weather", **asked)
        thought = first["output"][0]
        assert thought["type"] == "reasoning"
        assert thought["summary"][0]["text"]
        if model == "claude-haiku-4-5":
            assert thought["encrypted_content"].startswith("spillway-1:")
        (call,) = calls(first)
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        history = [{"role": "user", "content": "call weather"}, *first["output"], result]
        second = await responded(gateway, model_of, stream=stream, input=history, **asked)
    assert texts(second)
    assert first["reasoning"] == {"effort": "low", "summary": "auto"}


async def test_signatures_of_calls_go_back_sealed():
    async with before_simulator() as gateway:
        first = await responded(gateway, "gemini-2.5-flash", **FORCED)
        sealed = first["output"][0]
        assert sealed["type"] == "reasoning"
        assert sealed["encrypted_content"].startswith("spillway-1:")


async def test_what_was_sealed_here_is_not_shown_to_another_provider():
    async with before_simulator() as gateway:
        first = await responded(gateway, "gemini-2.5-flash", **FORCED)
        result = {"type": "function_call_output", "call_id": calls(first)[0]["call_id"], "output": "sunny"}
        history = [{"role": "user", "content": "call weather"}, *first["output"], result]
        for model in ("luna", "claude-haiku-4-5", "gpt-4o-mini"):
            assert texts(await responded(gateway, model, tools=[FLAT], input=history)), model


async def test_words_that_were_changed_are_refused():
    seal = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "spillway-1:e30x"}
    said = [{"role": "user", "content": "hi"}, seal, {"role": "assistant", "content": "ho"}]
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/responses", {"model": "gpt-4o-mini", "input": said})
    assert answer.status == 400
    assert "encrypted_content" in answer.json["error"]["message"]


async def test_the_reasoning_of_openai_does_not_stand_in_the_way_of_another_provider():
    async with before_simulator() as gateway:
        asked = {"include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low"}, "store": False}
        first = await responded(gateway, "luna", input="hello", **asked)
        assert first["output"][0]["encrypted_content"]
        history = [{"role": "user", "content": "hello"}, *first["output"], {"role": "user", "content": "and?"}]
        for model in TRANSLATED:
            assert texts(await responded(gateway, model, input=history)), model


async def test_log_probabilities_come(stream):
    async with before_simulator() as gateway:
        asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
        response = await responded(gateway, "gpt-4o-mini", stream=stream, **asked)
    (part,) = response["output"][0]["content"]
    assert "".join(each["token"] for each in part["logprobs"]) == part["text"]
    assert len(part["logprobs"][0]["top_logprobs"]) == 2


async def test_a_custom_tool_gets_free_text(stream):
    tool = {"type": "custom", "name": "shell", "description": "runs it"}
    async with before_simulator() as gateway:
        first = await responded(gateway, "gpt-4o-mini", stream=stream, tools=[tool], input="call shell")
        (call,) = calls(first)
        assert call["type"] == "custom_tool_call"
        assert call["input"]
        result = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "done"}
        history = [{"role": "user", "content": "call shell"}, *first["output"], result]
        assert texts(await responded(gateway, "gpt-4o-mini", tools=[tool], input=history))


async def test_the_settings_are_repeated():
    settings = {
        "instructions": "Be brief",
        "metadata": {"team": "a"},
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "tools": [FLAT],
        "user": "u1",
    }
    async with before_simulator() as gateway:
        response = await responded(gateway, "gpt-4o-mini", **settings)
    assert {name: response[name] for name in settings} == settings
    assert response["store"] is False
    assert response["model"] == "gpt-4o-mini"


NOT_KEPT = {
    "previous_response_id": "resp_1",
    "conversation": "conv_1",
    "background": True,
    "prompt": {"id": "pmpt_1"},
}


@pytest.mark.parametrize("field", NOT_KEPT)
@pytest.mark.parametrize("model", ["gpt-4o-mini", "luna"])
async def test_what_is_kept_at_openai_only_is_refused_by_name(field, model):
    async with before_simulator() as gateway:
        body = {"model": model, "input": "hi", field: NOT_KEPT[field]}
        answer = await ask(gateway, "/v1/responses", body)
        assert gateway.simulator.stats()["asked"] == 0
    assert answer.status == 400
    error = answer.json["error"]
    assert (error["code"], error["param"]) == ("bad_request", field)
    assert "kept here" in error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ],
)
async def test_a_response_can_not_be_fetched(method, path):
    async with before_simulator() as gateway:
        answer = await ask(gateway, path, method=method)
    assert answer.status == 400
    assert path in answer.json["error"]["message"]
    assert answer.json["error"]["param"] == "response_id"


BROKEN = {
    "no input": ({}, "input is missing"),
    "an empty input": ({"input": []}, "input must be"),
    "a number": ({"input": [1]}, "input[0] is not an object"),
    "no type": ({"input": [{"x": 1}]}, "input[0] has neither"),
    "a role that is none": ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    "a reference": ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]: no items are kept here"),
    "an output of no call": ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    "a content that is none": ({"input": [{"role": "user", "content": 1}]}, "input[0].content must be"),
    "a part that is none": ({"input": [{"role": "user", "content": [1]}]}, "input[0].content[0] is not"),
    "an answer that is none": ({"input": [{"role": "assistant", "content": [1]}]}, "input[0].content must be"),
    "instructions that are none": ({"input": "x", "instructions": 1}, "instructions must be text"),
    "no room": ({"input": "x", "max_output_tokens": 0}, "max_output_tokens: "),
    "a model that is none": ({"input": "x", "model": 5}, "model: Expected"),
    "tools that are none": ({"input": "x", "tools": {}}, "tools"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_can_not_be_read_is_refused(name):
    body, said = BROKEN[name]
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/responses", {"model": "gpt-4o-mini", **body})
    assert answer.status == 400
    assert said in answer.json["error"]["message"]


async def test_the_headers_tell_what_happened(stream):
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/responses", {"model": "gpt-4o-mini", "input": "hi"}, stream=stream)
    assert answer.headers["x-spillway-deployment"] == "gpt-4o-mini"
    assert answer.headers["x-spillway-attempts"] == "1"
    assert ("x-spillway-cost-usd" in answer.headers) is not stream


async def test_a_field_that_is_wrong_is_the_errors_param():
    async with before_simulator() as gateway:
        body = {"model": "gpt-4o-mini", "input": "x", "text": {"verbosity": 1}}
        answer = await ask(gateway, "/v1/responses", body)
    assert answer.json["error"]["param"] == "text.verbosity"


async def test_another_method_is_the_clients_error():
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/responses", method="PUT")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "gemini-2.5-flash", "luna"])
async def test_the_tokens_of_an_input_are_counted(model):
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/responses/input_tokens", {"model": model, "input": "Say hello"})
        assert gateway.simulator.stats()["billed_usd"] == 0
    assert answer.status == 200
    assert answer.json["object"] == "response.input_tokens"
    assert answer.json["input_tokens"] > 0


async def test_a_key_is_asked_for():
    key = GatewayKey(name="a", key=spillway.Secret("key-a"))
    async with before_simulator(keys=[(key, key.key)]) as gateway:
        assert (await ask(gateway, "/v1/responses", {"model": "luna", "input": "x"})).status == 401
        shown = [(b"authorization", b"Bearer key-a")]
        assert (await ask(gateway, "/v1/responses", {"model": "luna", "input": "x"}, headers=shown)).status == 200


@pytest.mark.parametrize("model", EVERY)
async def test_what_no_answer_depends_on_stands_in_no_ones_way(model):
    fields = {
        "include": [],
        "metadata": {"a": "b"},
        "parallel_tool_calls": True,
        "prompt_cache_key": "k",
        "reasoning": {"summary": "auto"},
        "service_tier": "auto",
        "store": False,
        "stream_options": {"include_obfuscation": False},
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "truncation": "disabled",
    }
    async with before_simulator() as gateway:
        assert texts(await responded(gateway, model, stream=model != "luna", **fields))


@pytest.mark.parametrize("fault", ["500", "reset-before-headers", "html-error-page"])
async def test_a_fallback_that_speaks_another_api_answers_the_same_request(fault, stream):
    sim = SimConfig(seed=1, scenario=Scenario((Phase(fault=fault, path="/v1/responses"),)))
    async with Simulator(sim) as simulator:
        chosen = {one.name: one for one in deployments(simulator.url)}
        first = msgspec.structs.replace(
            chosen["luna"], fallback=("claude-haiku-4-5",), retry=spillway.RetryPolicy(max_retries=0)
        )
        async with spillway.Cluster([first, chosen["claude-haiku-4-5"]]) as cluster:
            gateway = Gateway(cluster)
            answer = await ask(gateway, "/v1/responses", {"model": "luna", **FORCED}, stream=stream)
    assert answer.headers["x-spillway-deployment"] == "claude-haiku-4-5"
    assert answer.headers["x-spillway-attempts"] == "2"
    response = answer.events[-1][1]["response"] if stream else answer.json
    assert response["model"] == "luna"
    assert [call["name"] for call in calls(response)] == ["weather"]
