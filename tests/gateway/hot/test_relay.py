"""Where the door and the provider speak the same API, the caller's words and the provider's go through untouched."""

import asyncio
import json

import pytest
from asgi import USAGE, Asked, anthropic, chat, delta, gateway_before, openai, sse, whole

import spillway
from spillway.testing.byte_server import ByteServer, Do, answer, chunk

JSON = {"content-type": "application/json"}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ONLY_USAGE = {"id": "c1", "choices": [], "usage": USAGE}


def streamed(*pieces, end=True):
    """Return a streamed answer, one chunk for each piece."""
    return EVENTS + b"".join(map(chunk, pieces)) + (b"0\r\n\r\n" if end else b"")


async def test_a_whole_answer_is_passed_on_byte_for_byte():
    body = b'{ "id":"c1","model":"other","choices":[{"index":0,"message":{"content":"hi","x_new":[1.0]},'
    body += b'"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3},"x_vendor":{"a":  1}}'
    async with ByteServer([Do.READ, answer(body, headers=JSON)]) as server, gateway_before(openai(server)) as gateway:
        asked = await Asked(gateway, chat()).end()
    assert asked.status == 200
    assert asked.bytes == body
    assert asked.headers["x-spillway-deployment"] == "gpt-4o-mini"
    record = gateway.heard[0]
    assert record.outcome == "ok"
    assert record.usage.output_tokens == 3


async def test_the_body_goes_out_as_the_caller_wrote_it():
    body = chat(
        model="mini",
        max_tokens=5,
        user=None,
        x_vendor={"deep": [1, 2.5]},
        functions=[{"name": "f"}],
        api_base="http://127.0.0.1:1",
        api_key="sk-other",
        aws_secret_access_key="x",
        extra_body={"api_base": "http://127.0.0.1:1", "top_k": 3},
        stream=False,
    )
    async with ByteServer([Do.READ, answer(json.dumps(whole()).encode(), headers=JSON)]) as server:
        deployment = openai(server, name="mini", model="gpt-4o-mini-2024")
        async with gateway_before(deployment) as gateway:
            asked = await Asked(gateway, body).end()
        sent = json.loads(server.conversations[0].requests[0])
    assert asked.status == 200
    assert sent == {
        "model": "gpt-4o-mini-2024",
        "messages": body["messages"],
        "max_tokens": 5,
        "user": None,
        "x_vendor": {"deep": [1, 2.5]},
        "functions": [{"name": "f"}],
        "extra_body": {"top_k": 3},
    }


async def test_no_field_of_a_caller_names_a_proxys_endpoint_or_key():
    places = {
        "api_base": "http://127.0.0.1:1",
        "base_url": "http://127.0.0.1:1",
        "api_key": "sk-other",
        "user_config": {"model_list": []},
        "vertex_credentials": "x",
        "fallbacks": [{"model": "other", "api_key": "sk-other"}],
    }
    async with ByteServer([Do.READ, answer(json.dumps(whole()).encode(), headers=JSON)]) as server:
        config = spillway.LiteLlmConfig(endpoint=server.url, api_key=spillway.Secret("sk-x"))
        deployment = spillway.Deployment(name="gpt-4o-mini", runtime="litellm", runtime_config=config)
        async with gateway_before(deployment) as gateway:
            asked = await Asked(gateway, chat(**places)).end()
        sent = json.loads(server.conversations[0].requests[0])
    assert asked.status == 200
    assert sent == chat(fallbacks=[{"model": "other"}])


async def test_a_streams_events_are_passed_on_byte_for_byte():
    before, first = (
        sse(delta(x_vendor={"a": 1.0})),
        b': a comment\n\ndata: {"choices":[{"delta":{"content":"he"}}] }\n\n',
    )
    rest = sse(delta("llo"), delta(finish="stop"), {**ONLY_USAGE, "x": 1}, b"[DONE]")
    script = [Do.READ, streamed(before, first, rest)]
    async with ByteServer(script) as server, gateway_before(openai(server)) as gateway:
        asked = await Asked(gateway, chat(stream=True, stream_options={"include_usage": True, "x": 1})).end()
        sent = json.loads(server.conversations[0].requests[0])
    assert sent["stream_options"] == {"include_usage": True, "x": 1}
    assert asked.bytes == before + first.partition(b"\n\n")[2] + rest
    assert gateway.heard[0].usage.output_tokens == 3


@pytest.mark.parametrize("usage", [ONLY_USAGE, {"id": "c1", "usage": USAGE, "choices": []}])
async def test_the_event_of_usage_alone_is_for_those_who_asked(usage):
    said = sse(delta(), delta("hello", usage=None), delta(finish="stop", usage=USAGE))
    script = [Do.READ, streamed(said + sse(usage, b"[DONE]"))]
    async with ByteServer(script) as server, gateway_before(openai(server)) as gateway:
        asked = await Asked(gateway, chat(stream=True)).end()
        sent = json.loads(server.conversations[0].requests[0])
    assert sent["stream_options"] == {"include_usage": True}
    assert asked.bytes == said + sse(b"[DONE]")
    assert gateway.heard[0].usage.output_tokens == 3


async def test_nothing_is_sent_before_the_first_content():
    on = asyncio.Event()
    script = [Do.READ, EVENTS + chunk(sse(delta())), on, chunk(sse(delta("hello"))), Do.STALL]
    async with ByteServer(script) as server, gateway_before(openai(server)) as gateway:
        asked = Asked(gateway, chat(stream=True))
        conversation = await server.conversation()
        while not conversation.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert asked.status == 0
        on.set()
        await asked.until(lambda told: told.pieces)
        assert asked.bytes == sse(delta(), delta("hello"))
        asked.leave()
        await asked.end()


async def test_a_retried_stream_shows_nothing_of_the_attempt_before():
    first = [
        Do.READ,
        EVENTS + chunk(sse(delta(), {"id": "c1", "error": {"message": "overloaded", "code": 503}})),
        Do.FIN,
    ]
    good = sse(delta(x=2), delta("hello"), delta(finish="stop"), b"[DONE]")
    async with ByteServer(first, [Do.READ, streamed(good)]) as server:
        retry = spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.001)
        async with gateway_before(openai(server, retry=retry)) as gateway:
            asked = await Asked(gateway, chat(stream=True)).end()
    assert asked.bytes == good
    assert asked.headers["x-spillway-attempts"] == "2"


@pytest.mark.parametrize("apart", [True, False])
async def test_a_stream_that_breaks_ends_in_an_error_event_and_its_usage_is_kept(apart):
    said = sse(delta(), delta("hello", usage=USAGE))
    broken = sse({"id": "c1", "error": {"message": "it broke", "code": 500}}, delta("never"), b"[DONE]")
    pieces = (said, broken) if apart else (said + broken,)
    script = [Do.READ, streamed(*pieces)]
    async with ByteServer(script) as server, gateway_before(openai(server)) as gateway:
        asked = await Asked(gateway, chat(stream=True)).end()
    assert asked.bytes.startswith(said)
    assert len(asked.events) == 3
    error = asked.events[-1]["error"]
    assert error["code"] == "stream_interrupted"
    assert b"[DONE]" not in asked.bytes
    assert asked.over
    record = gateway.heard[0]
    assert (record.outcome, record.status) == ("stream_interrupted", 200)
    assert record.cost_pico > 0


async def test_a_fallback_in_other_words_is_translated():
    message = {
        "id": "m1", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 7, "output_tokens": 3},
    }  # fmt: skip
    async with (
        ByteServer([Do.READ, answer(b"{}", 401, headers=JSON)]) as refusing,
        ByteServer([Do.READ, answer(json.dumps(message).encode(), headers=JSON)]) as other,
        gateway_before(openai(refusing, fallback=("claude-haiku-4-5",)), anthropic(other)) as gateway,
    ):
        asked = await Asked(gateway, chat(x_vendor=None)).end()
    assert asked.status == 200
    assert asked.headers["x-spillway-deployment"] == "claude-haiku-4-5"
    assert asked.json["object"] == "chat.completion"
    assert asked.json["model"] == "gpt-4o-mini"
    assert asked.json["choices"][0]["message"]["content"] == "hello"


async def test_a_translated_stream_tells_its_usage_last():
    said = sse(
        ("message_start", {"type": "message_start", "message": {"id": "m1", "usage": {"input_tokens": 7}}}),
        ("content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
        ("content_block_stop", {"type": "content_block_stop", "index": 0}),
        ("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
        ("message_stop", {"type": "message_stop"}),
    )  # fmt: skip
    async with ByteServer([Do.READ, streamed(said)]) as server, gateway_before(anthropic(server)) as gateway:
        body = chat(model="claude-haiku-4-5", stream=True, stream_options={"include_usage": True})
        asked = await Asked(gateway, body).end()
    assert asked.events[-1] == b"[DONE]"
    assert asked.events[-2]["choices"] == []
    assert asked.events[-2]["usage"]["completion_tokens"] == 3
    assert asked.events[0]["choices"][0]["delta"] == {"role": "assistant", "content": "hi"}
