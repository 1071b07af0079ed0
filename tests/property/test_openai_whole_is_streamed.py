"""Whatever OpenAI's APIs answer, asked for whole and as a stream, it is the same answer; and it goes back as it came."""

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spillway
from spillway.sim import SimConfig, Simulator

MODEL = "gpt-6-luna"
PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}


def function(name):
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA}}


CUSTOM = {"type": "custom", "custom": {"name": "shell", "format": {"type": "text"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
LOGPROBS = {"logprobs": True, "top_logprobs": 3}
SUMMARY = {"reasoning": {"summary": "auto"}}
BOTH = {
    "text": ("Say hello", {}),
    "one call": ("call weather", {"tools": [function("weather")]}),
    "calls": ("call weather and trains and shell", {"tools": [function("weather"), function("trains"), CUSTOM]}),
    "forced": ("hi", {"tools": [function("weather")], "tool_choice": function("weather")}),
    "schema": ("hi", {"response_format": FORMAT}),
    "logprobs": ("hi", {"extra": LOGPROBS}),
    "refusal": ("decline to answer", {}),
    "cut": ("in 20 words", {"max_tokens": 7}),
    "effort": ("hi", {"reasoning_effort": "high"}),
    "cache": ("a long prompt", {"extra": {"prompt_cache_key": "k", "service_tier": "flex"}}),
}
CHAT = {
    "three": ("hi", {"extra": {"n": 3}}),
    "three calls": ("call weather and trains", {"tools": [function("weather"), function("trains")], "extra": {"n": 3}}),
    "three with logprobs": ("hi", {"extra": {"n": 3, **LOGPROBS}}),
    "refusals with logprobs": ("decline to answer", {"extra": {"n": 2, **LOGPROBS}}),
    "sound": ("hi", {"extra": {"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}}}),
    "moderation": ("hi", {"extra": {"moderation": {"model": "m"}, "stream_options": {"include_obfuscation": True}}}),
}
RESPONSES = {
    "thoughts": ("hi", {"reasoning_effort": "low", "extra": SUMMARY}),
    "thoughts between calls": (
        "call weather and trains",
        {"tools": [function("weather"), function("trains")], "reasoning_effort": "low", "extra": SUMMARY},
    ),
    "search": ("hi", {"tools": [{"type": "web_search"}]}),
}
CASES = [("chat", *case) for case in {**BOTH, **CHAT}.items()]
CASES += [("responses", *case) for case in {**BOTH, **RESPONSES}.items()]


def config(sim, variant, api):
    options = {"api_key": spillway.Secret("sk-test"), "api": api}
    if variant == "openai":
        return spillway.OpenAiConfig(endpoint=f"{sim.url}/v1", **options)
    return spillway.OpenAiConfig(
        variant="azure", endpoint=sim.url, api_version="2024-10-21" if variant == "azure" else None, **options
    )


def plain(tokens):
    """An answer without what says how it was asked for."""
    return msgspec.structs.replace(tokens, raw=b"", request_id="")


async def both(seed, variant, api, prompt, options):
    async with Simulator(SimConfig(seed=seed)) as sim:
        deployment = spillway.Deployment(
            name=MODEL, runtime="openai", runtime_config=config(sim, variant, api), pricing=PRICE
        )
        async with spillway.Cluster([deployment]) as cluster:
            whole = await cluster.generate(MODEL, prompt, **options)
            async with cluster.stream(MODEL, prompt, **options) as stream:
                chunks = [chunk async for chunk in stream]
            said = whole.message()
            history = [{"role": "user", "content": prompt}, said]
            history += [
                {"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in said.get("tool_calls", ())
            ]
            history.append({"role": "user", "content": "and then?"})
            again = await cluster.generate(MODEL, history, tools=options.get("tools"))
            return whole, stream.tokens, chunks, again


@pytest.mark.parametrize(("api", "name", "case"), CASES, ids=[f"{api}: {name}" for api, name, _ in CASES])
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**31), variant=st.sampled_from(["openai", "azure", "azure-v1"]))
def test_whole_and_streamed_are_the_same_message(api, name, case, seed, variant):
    prompt, options = case
    whole, streamed, chunks, again = asyncio.run(both(seed, variant, api, prompt, options))
    assert plain(streamed) == plain(whole)
    assert msgspec.json.encode(streamed.message()) == msgspec.json.encode(whole.message())
    assert sum(chunk.usage is not None for chunk in chunks) == 1
    assert whole.finish_reason is not None
    assert all(choice.finish_reason is not None for choice in whole.choices)
    assert len(whole.choices) == (options.get("extra", {}).get("n", 0))
    assert again.text
