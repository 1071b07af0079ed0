"""A field of an odd type is its caller's fault: never a failure of ours, and never the provider's, whose circuit it would open."""

import json

import pytest
from safety_rig import BEARER, CHAT, app_of, ask_app, said

VALUES = (
    True, -1, 1.5, 10**30, "", "x", [], {}, [[]], [{}], [None], ["x"], {"type": {}}, {"type": []}, [{"type": {}}], [{"type": "text", "text": {}}],
    [{"type": "image_url", "image_url": []}], [{"type": "image_url", "image_url": {"url": {}}}], [{"type": "input_audio", "input_audio": {}}],
    [{"type": "file", "file": {"file_data": 1}}], [{"type": "function", "function": {"name": {}, "parameters": []}}], {"type": "json_schema", "json_schema": []},
    [{"id": {}, "type": "function", "function": {"name": "x", "arguments": {}}}], {"type": "function", "function": 1}, {"type": "tool", "name": {}},
    [{"type": "tool_use", "id": {}, "input": 1}], [{"type": "tool_result", "content": {}}], [{"type": "function_call", "arguments": {}}],
)  # fmt: skip
OF_A_MESSAGE = (
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "thinking_blocks",
    "images",
    "extra_content",
    "cache_control",
    "audio",
)
OF_A_BODY = (
    "model", "messages", "input", "max_tokens", "temperature", "stop", "seed", "tools", "tool_choice", "response_format", "reasoning_effort", "stream_options",
    "n", "logprobs", "modalities", "audio", "metadata", "service_tier", "user", "parallel_tool_calls", "logit_bias", "safetySettings", "thinking", "system",
    "functions", "function_call", "fallbacks", "extra_body", "generationConfig", "top_k", "labels", "dimensions", "encoding_format", "instructions", "reasoning",
    "text", "include", "truncation", "previous_response_id", "stop_sequences", "betas", "mcp_servers", "output_config",
)  # fmt: skip
RUNTIMES = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "house")
DOORS = {
    CHAT: said,
    "/v1/responses": lambda **more: {"input": "hi", **more},
    "/v1/messages": lambda **more: said(max_tokens=9, **more),
    "/v1/messages/count_tokens": said,
    "/v1/embeddings": lambda **more: {"input": "hi", **more},
}
ANSWERS_ALL = {"/v1/embeddings": ("gpt-4o-mini", "house"), "/v1/messages/count_tokens": ("claude-haiku-4-5",)}


@pytest.mark.parametrize("door", DOORS)
async def test_no_field_breaks_anything(upstream, door):
    async with app_of(upstream.url) as app:

        async def ask(body):
            answer, _ = await ask_app(app, "POST", door, BEARER, [json.dumps(body).encode()])
            assert answer.status in {200, 400, 402, 404}, (body, answer)

        for model in ANSWERS_ALL.get(door, RUNTIMES):
            for value in VALUES:
                for field in OF_A_BODY:
                    await ask({**DOORS[door](model=model), field: value})
                if "messages" not in DOORS[door](model=model):
                    continue
                for field in OF_A_MESSAGE:
                    for role in ("user", "assistant", "tool"):
                        first = {"role": "user", "content": "hi"}
                        await ask(
                            {
                                **DOORS[door](model=model),
                                "messages": [first, {"role": role, "content": "hi", field: value}],
                            }
                        )
            breaker = app.cluster.deployment(model).circuit_breaker()
            assert breaker.snapshot().failures == 0
            assert breaker.state == "closed"


async def test_a_whole_answer_to_a_streamed_question_is_told_as_a_stream(upstream):
    async with app_of(upstream.url) as app:
        answer, _ = await ask_app(app, "POST", CHAT, BEARER, [json.dumps(said(stream=True)).encode()])
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b'"hello"' in answer.body
