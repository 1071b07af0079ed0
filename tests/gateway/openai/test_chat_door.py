"""`POST /v1/chat/completions` in translation: chunks as OpenAI writes them."""

import pytest
from openai_doors import ask, before_simulator

import spillway
from spillway.core.reply import FinishReason, TokenChunk, Usage
from spillway.gateway.app import Gateway
from spillway.providers.answers import WholeAnswer

CHUNKS = [
    TokenChunk(about={"service_tier": "standard", "system_fingerprint": "fp_1"}),
    TokenChunk(text_delta="a"),
    TokenChunk(text_delta="b", choice=1),
    TokenChunk(text_delta="c", logprobs={"content": [{"token": "c", "logprob": -1.0, "bytes": None}]}),
    TokenChunk(refusal_delta="no", choice=1),
    TokenChunk(finish_reason=FinishReason.STOP),
    TokenChunk(finish_reason=FinishReason.STOP, choice=1, usage=Usage(input_tokens=1, output_tokens=2)),
]


class Runner:
    """Answers with the chunks above."""

    runtime_kind = transport_kind = "scripted"
    rate_limits = None

    async def execute(self, batch):
        del batch
        return WholeAnswer(list(CHUNKS), "id", None)

    async def rebuild_session(self, cause):
        raise AssertionError(cause)


@pytest.mark.parametrize("wanted", [True, False])
async def test_each_answer_begins_with_its_role_and_all_chunks_tell_the_same(wanted):
    deployment = spillway.Deployment(name="m")
    async with spillway.Cluster([deployment], runners={"m": lambda _: Runner()}, environ={}) as cluster:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 2, "stream": True}
        options = {"stream_options": {"include_usage": True}} if wanted else {}
        answer = await ask(Gateway(cluster), "/v1/chat/completions", body, **options)
    assert answer.events[-1] == (None, "[DONE]")
    chunks = [data for _, data in answer.events[:-1]]
    said = [chunk for chunk in chunks if chunk["choices"]]
    assert [chunk["choices"][0]["delta"].get("role") for chunk in said] == ["assistant", "assistant", *[None] * 4]
    assert {chunk["service_tier"] for chunk in chunks} == {"default"}
    assert {chunk["system_fingerprint"] for chunk in chunks} == {"fp_1"}
    assert said[2]["choices"][0]["logprobs"]["content"][0]["token"] == "c"
    assert said[3]["choices"][0]["delta"] == {"refusal": "no"}
    if wanted:
        assert all(chunk["usage"] is None for chunk in said)
        assert chunks[-1]["usage"]["total_tokens"] == 3
    else:
        assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "gemini-2.5-flash"])
async def test_a_tier_that_openai_does_not_have_is_told_by_its_name_or_not_at_all(model):
    async with before_simulator() as gateway:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        answer = await ask(gateway, "/v1/chat/completions", body)
    assert answer.json.get("service_tier") in {None, "default"}
