"""`POST /v1/messages` before a provider that speaks the same API: the caller's words and the provider's go through."""

import json

import pytest
from anthropic_bodies import added_up, user
from asgi import KEY, Asked, anthropic, gateway_before, openai, sse

import spillway
from spillway.gateway.dialects.anthropic_signature import SIGNATURE
from spillway.runtime.project import GatewayKey
from spillway.testing.byte_server import ByteServer, Do, answer, chunk

JSON = {"content-type": "application/json"}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MESSAGE = {
    "id": "msg_up",
    "type": "message",
    "role": "assistant",
    "model": "claude-upstream",
    "content": [{"type": "text", "text": "hi", "citations": None, "x_new": [1.0]}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 2},
}
START = ("message_start", {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}})
BLOCK = (
    "content_block_start",
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
)
TEXT = (
    "content_block_delta",
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}, "x_new": 1.0},
)
REST = (
    ("content_block_stop", {"type": "content_block_stop", "index": 0}),
    ("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}),
    ("message_stop", {"type": "message_stop"}),
)
PING = ("ping", {"type": "ping"})
MANY = [{"name": f"tool_{at}", "description": "d", "input_schema": {"type": "object"}} for at in range(20)]
AGENT = {
    "model": "claude-haiku-4-5",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "x" * 60_000, "cache_control": {"type": "ephemeral", "ttl": "1h", "scope": "global"}},
    ],
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "<system-reminder>\u00e9"}, {"type": "text", "text": "go"}],
        },
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "EqoB"}]},
        {"role": "user", "content": [{"type": "text", "text": "on", "cache_control": {"type": "ephemeral"}}]},
    ],
    "tools": [*MANY, {"type": "web_search_20260318", "name": "web_search"}],
    "metadata": {"user_id": "user_" + "f" * 64 + "_account__session_1"},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "temperature": 1,
    "an_unknown_beta": {"deep": [1, 2.5, None, True, 12345678901234567]},
    "stream": True,
}
"""What a coding agent sends."""


def body(**more):
    return {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [user("Say hello")], **more}


def ask(gateway, said, *headers, path="/v1/messages"):
    return Asked(gateway, said, path=path, headers=[(name.encode(), value.encode()) for name, value in headers])


def streamed(*pieces, end=True):
    return EVENTS + b"".join(map(chunk, pieces)) + (b"0\r\n\r\n" if end else b"")


def refused(status, raw, **headers):
    return answer(raw if isinstance(raw, bytes) else json.dumps(raw).encode(), status, {**JSON, **headers})


async def test_a_whole_answer_is_passed_on_byte_for_byte():
    raw = json.dumps(MESSAGE, indent=1).encode()
    async with ByteServer([Do.READ, answer(raw, headers=JSON)]) as server, gateway_before(anthropic(server)) as gateway:
        asked = await ask(gateway, body()).end()
    assert (asked.status, asked.bytes) == (200, raw)
    assert asked.headers["x-spillway-deployment"] == "claude-haiku-4-5"
    assert asked.headers["request-id"] == asked.headers["x-request-id"]
    record = gateway.heard[0]
    assert (record.door, record.outcome, record.usage.input_tokens, record.usage.cached_tokens) == (
        "messages",
        "ok",
        10,
        3,
    )


async def test_what_a_coding_agent_sends_goes_out_as_it_is():
    reply = streamed(sse(START, BLOCK, TEXT, *REST))
    betas = "claude-code-20250219,context-management-2025-06-27,interleaved-thinking-2025-05-14"
    headers = [
        ("anthropic-beta", betas),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-dangerous-direct-browser-access", "true"),
        ("x-api-key", "sk-of-the-caller"),
        ("x-stainless-lang", "js"),
        ("user-agent", "claude-cli/9"),
        ("cookie", "a=b"),
    ]
    async with ByteServer([Do.READ, reply]) as server, gateway_before(anthropic(server)) as gateway:
        asked = await ask(gateway, AGENT, *headers).end()
        sent = server.conversations[0]
        head, raw = (await server.conversation()).received.split(b"\r\n\r\n", 1)
    assert asked.status == 200
    assert json.loads(raw) == AGENT
    assert json.dumps(json.loads(raw)["messages"]) == json.dumps(AGENT["messages"])
    assert sent.requests
    told = dict(line.split(": ", 1) for line in head.decode().lower().splitlines()[1:])
    assert told["anthropic-beta"] == betas
    assert told["anthropic-version"] == "2023-06-01"
    assert told["anthropic-dangerous-direct-browser-access"] == "true"
    assert told["x-api-key"] == KEY.reveal()
    assert not {"cookie", "x-stainless-lang", "authorization"} & told.keys()
    assert "claude-cli" not in told["user-agent"] and b"sk-of-the-caller" not in head + raw


async def test_a_stream_is_passed_on_event_for_event():
    frames = sse(START, PING, BLOCK, TEXT, PING, *REST)
    async with ByteServer([Do.READ, streamed(frames)]) as server, gateway_before(anthropic(server)) as gateway:
        asked = await ask(gateway, body(stream=True)).end()
    assert asked.bytes == frames
    assert gateway.heard[0].usage.output_tokens == 2


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_up"}


@pytest.mark.parametrize(
    ("status", "kind", "ours"),
    [
        (400, "invalid_request_error", 400),
        (401, "authentication_error", 502),
        (403, "permission_error", 502),
        (404, "not_found_error", 404),
        (413, "request_too_large", 400),
        (429, "rate_limit_error", 429),
        (500, "api_error", 502),
        (529, "overloaded_error", 502),
    ],
)
async def test_the_providers_own_error_comes_back(status, kind, ours):
    said = {"type": "error", "error": {"type": kind, "message": "told so", "details": {"x": [1]}}, "request_id": "r"}
    retry = spillway.RetryPolicy(max_retries=0)
    async with (
        ByteServer(*[[Do.READ, refused(status, said)]] * 2) as server,
        gateway_before(anthropic(server, retry=retry)) as gateway,
    ):
        asked = await ask(gateway, body()).end()
    assert (asked.status, asked.json) == (ours, said)
    assert asked.headers["x-should-retry"] == "false"
    if ours == 429:
        assert int(asked.headers["retry-after"]) >= 1 and asked.headers["x-spillway-limited-by"] == "provider"


async def test_our_secret_in_the_providers_error_is_masked():
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": f"key {KEY.reveal()} is bad"}}
    async with (
        ByteServer([Do.READ, refused(400, said)]) as server,
        gateway_before(anthropic(server)) as gateway,
    ):
        asked = await ask(gateway, body()).end()
    assert asked.json["error"]["message"] == "key [redacted] is bad"


@pytest.mark.parametrize(
    "raw",
    [
        b"<html>Bad Gateway</html>",
        b'{"error": {"message": "openai-shaped"}}',
        json.dumps({"type": "error", "error": {"type": "x", "message": "y" * 70_000}}).encode(),
    ],
)
async def test_an_error_of_another_shape_or_too_long_is_told_in_ours(raw):
    async with (
        ByteServer([Do.READ, refused(400, raw)]) as server,
        gateway_before(anthropic(server)) as gateway,
    ):
        asked = await ask(gateway, body()).end()
    assert asked.status == 400 and len(asked.bytes) < 8_000
    assert asked.json["error"]["type"] == "invalid_request_error"
    assert asked.json["error"]["details"] == {"error_code": "bad_request"}
    assert asked.json["request_id"] == asked.headers["request-id"]


@pytest.mark.parametrize("how", ["cut", "error"])
async def test_a_stream_that_breaks_ends_in_an_error_event(how):
    broken = sse(("error", OVERLOADED)) if how == "error" else b""
    reply = streamed(sse(START, BLOCK, TEXT) + broken, end=how == "error")
    async with ByteServer([Do.READ, reply, Do.FIN]) as server, gateway_before(anthropic(server)) as gateway:
        asked = await ask(gateway, body(stream=True)).end()
    last = asked.events[-1]
    assert asked.bytes.split(b"\n\n")[-2].startswith(b"event: error\n")
    assert last["type"] == "error"
    if how == "error":
        assert last == OVERLOADED
    else:
        assert last["error"]["details"] == {"error_code": "stream_interrupted"}
    assert b"message_stop" not in asked.bytes and asked.bytes.count(b"event: error") == 1
    assert gateway.heard[0].outcome == "stream_interrupted"


async def test_nothing_is_told_before_the_first_content_so_a_broken_stream_is_tried_again():
    error, good = streamed(sse(START, ("error", OVERLOADED))), streamed(sse(START, BLOCK, TEXT, *REST))
    retry = spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.001)
    async with (
        ByteServer([Do.READ, error, Do.READ, good], [Do.READ, good]) as server,
        gateway_before(anthropic(server, retry=retry)) as gateway,
    ):
        asked = await ask(gateway, body(stream=True)).end()
    assert added_up(asked.bytes)["content"][0]["text"] == "hi"
    assert asked.bytes.count(b"message_start") == 2  # the name of one event and its type
    assert asked.headers["x-spillway-attempts"] == "2"


async def test_thinking_of_another_provider_is_not_sent_to_one_that_signs():
    ours = {"type": "thinking", "thinking": "hm", "signature": SIGNATURE}
    said = [user("q"), {"role": "assistant", "content": [ours, {"type": "text", "text": "a"}]}, user("and?")]
    async with (
        ByteServer([Do.READ, answer(json.dumps(MESSAGE).encode(), headers=JSON)]) as server,
        gateway_before(anthropic(server)) as gateway,
    ):
        await ask(gateway, body(messages=said)).end()
        sent = json.loads(server.conversations[0].requests[0])
    assert sent["messages"][1]["content"] == [{"type": "text", "text": "a"}]


async def test_a_count_is_the_providers_and_takes_nothing_of_the_keys_tokens():
    raw = b'{"input_tokens": 42, "context_management": {"original_input_tokens": 50}}'
    key = (GatewayKey(name="k", key=KEY, tokens_per_minute=1_000), spillway.Secret("key-k"))
    async with (
        ByteServer([Do.READ, answer(raw, headers=JSON), Do.READ, answer(raw, headers=JSON)]) as server,
        gateway_before(anthropic(server), keys=[key]) as gateway,
    ):
        for _ in range(2):
            said = {"model": "claude-haiku-4-5", "messages": [user("x" * 900)]}
            asked = await ask(gateway, said, ("x-api-key", "key-k"), path="/v1/messages/count_tokens").end()
            assert (asked.status, asked.bytes) == (200, raw)
        assert server.conversations[0].received.startswith(b"POST /v1/messages/count_tokens HTTP/1.1")
        assert json.loads(server.conversations[0].requests[0]) == said
    assert [(record.door, record.usage.total_tokens, record.cost_pico) for record in gateway.heard] == [
        ("count_tokens", 0, 0)
    ] * 2


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    ("said", "status", "kind"),
    [
        (b"nonsense", 400, "invalid_request_error"),
        (b"[]", 400, "invalid_request_error"),
        ({"model": "claude-haiku-4-5"}, 400, "invalid_request_error"),
        ({"messages": [user("x")]}, 400, "invalid_request_error"),
        ({"model": "other", "messages": [user("x")]}, 404, "not_found_error"),
    ],
)
async def test_refusals_have_anthropics_shape(path, said, status, kind):
    async with ByteServer([]) as server, gateway_before(anthropic(server)) as gateway:
        asked = await ask(gateway, said, path=path).end()
    assert asked.status == status
    assert asked.json["type"] == "error" and asked.json["error"]["type"] == kind
    assert asked.json["request_id"] == asked.headers["request-id"]


async def test_who_shows_no_key_is_told_in_anthropics_shape():
    key = (GatewayKey(name="k", key=KEY), spillway.Secret("key-k"))
    async with ByteServer([]) as server, gateway_before(anthropic(server), keys=[key]) as gateway:
        asked = await ask(gateway, body()).end()
    assert (asked.status, asked.json["error"]["type"]) == (401, "authentication_error")
    assert "request-id" in asked.headers


async def test_a_field_that_another_provider_lacks_is_refused_or_left_out_with_a_word():
    whole = {"id": "c", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
    for unsupported in ("error", "warn"):
        async with (
            ByteServer([Do.READ, answer(json.dumps(whole).encode(), headers=JSON)]) as server,
            gateway_before(openai(server, name="m", unsupported=unsupported)) as gateway,
        ):
            asked = await ask(gateway, body(model="m", top_k=3)).end()
            if unsupported == "error":
                assert asked.status == 400 and "top_k" in asked.json["error"]["message"]
            else:
                assert asked.json["content"] == [{"type": "text", "text": "hi"}]
                assert "top_k" not in json.loads(server.conversations[0].requests[0])
