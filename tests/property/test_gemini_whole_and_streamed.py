"""Whole or streamed, an answer of Gemini is the same message: over the simulator's seeds and everything it can say."""

import asyncio

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spillway
from spillway import GeminiConfig, Secret
from spillway.sim import SimConfig, Simulator

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "share": {"type": "number"},
                    "sure": {"type": "boolean"},
                    "stops": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
                },
            },
        },
    }
    for name in ("weather", "traffic")
]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
}
STREAMED_ARGUMENTS = {"toolConfig": {"functionCallingConfig": {"streamFunctionCallArguments": True}}}


@st.composite
def asked(draw):
    vertex = draw(st.booleans())
    prompt = draw(
        st.sampled_from(
            ["Say hello", "in 3 words", "call weather", "call traffic and call weather", "search, run code"]
        )
    )
    options = {}
    extra = {}
    if draw(st.booleans()):
        extra["include_thoughts"] = True
    if draw(st.booleans()):
        extra |= {"logprobs": True, "top_logprobs": draw(st.integers(0, 3))}
    if draw(st.booleans()):
        extra["n"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        extra["modalities"] = ["text", "image"]
    if draw(st.booleans()):
        options["tools"] = [*TOOLS, {"googleSearch": {}}, {"codeExecution": {}}]
        if vertex and draw(st.booleans()):
            extra |= STREAMED_ARGUMENTS
    elif draw(st.booleans()):
        options["response_format"] = SCHEMA
    if draw(st.booleans()):
        options["max_tokens"] = draw(st.integers(1, 30))
    if draw(st.booleans()):
        options["stop"] = ["."]
    model = draw(st.sampled_from(["gemini-2.5-flash", "gemini-3.8-flash"]))
    return draw(st.integers(0, 2**32)), vertex, model, prompt, options | {"extra": extra}


async def both(seed, vertex, model, prompt, options):
    where = {"variant": "vertex", "project": "p"} if vertex else {}
    async with Simulator(SimConfig(seed=seed)) as sim:
        config = GeminiConfig(endpoint=sim.url, api_key=Secret("sk-test"), **where)
        deployment = spillway.Deployment(name=model, runtime_config=config)
        async with spillway.Cluster([deployment], environ={}) as cluster:
            whole = await cluster.generate(model, prompt, **options)
            async with cluster.stream(model, prompt, **options) as stream:
                async for _ in stream:
                    pass
        return whole, stream.tokens


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked())
def test_whole_and_streamed_are_the_same_message(question):
    whole, streamed = asyncio.run(both(*question))
    assert whole.message() == streamed.message()
    plain = {"raw": b"", "request_id": ""}
    assert msgspec.structs.replace(whole, **plain) == msgspec.structs.replace(streamed, **plain)
