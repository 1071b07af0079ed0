"""The runner that all HTTP providers share, against a server that says exactly what a script says."""

from __future__ import annotations

import asyncio
import json
import pickle
import traceback

import pytest

import spillway
from spillway.core.building import TokensBuilder
from spillway.core.errors import (
    BadRequest,
    ContentFiltered,
    NetworkError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    Unauthorized,
)
from spillway.core.limits_seen import LimitSeen
from spillway.core.options import Deployment
from spillway.core.ports import ExecuteBatch, ModelRunner, RunHandle
from spillway.core.reply import Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import SecretRef
from spillway.providers.anthropic import AnthropicConfig
from spillway.providers.gemini import GeminiConfig
from spillway.providers.openai import OpenAiConfig
from spillway.providers.registry import make_runner
from spillway.testing.byte_server import ByteServer, Do, answer, chunk

CANARY = "sk-CANARY-0123456789abcdef"
JSON = {"content-type": "application/json"}
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
COMPLETION = b'{"id":"c1","choices":[{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}'
EVENT = b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Ours:
    """A runner of a deployment whose endpoint is a byte server."""

    def __init__(self, server, *, config=OpenAiConfig, api_key=None, **options):
        endpoint = server.url if config is OpenAiConfig else server.url.removesuffix("/v1")
        self.environ = {"KEY": CANARY}
        deployment = Deployment(
            name="m", runtime_config=config(endpoint=endpoint, api_key=api_key or SecretRef(from_env="KEY"), **options)
        )
        self.runner = make_runner(deployment, environ=self.environ)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.runner.aclose()

    async def execute(self, *, stream=False, **fields) -> RunHandle:
        fields.setdefault("messages", ({"role": "user", "content": "hi"},))
        return await self.runner.execute(ExecuteBatch(request=GenerateRequest(**fields), deadline=1e9, stream=stream))

    async def ask(self, **options):
        builder = TokensBuilder()
        async for chunks in await self.execute(**options):
            for one in chunks:
                builder.add(one)
        return builder.build()

    async def fail(self, kind, **options):
        with pytest.raises(kind) as caught:
            await self.ask(**options)
        assert type(caught.value) is kind
        return caught.value


def head(conversation) -> dict[str, str]:
    lines = bytes(conversation.received).split(b"\r\n\r\n")[0].decode().split("\r\n")
    return {"": lines[0]} | {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}


async def test_it_is_a_runner_and_connects_to_nothing_before_it_is_used():
    async with ByteServer([]) as server, Ours(server) as ours:
        assert isinstance(ours.runner, ModelRunner)
        assert (ours.runner.runtime_kind, ours.runner.transport_kind) == ("openai", "http")
        assert ours.runner.session is None
        assert ours.runner.rate_limits is None
    assert server.conversations == []


async def test_a_whole_answer_its_request_id_and_its_limits():
    headers = JSON | {
        "x-request-id": "req-1",
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": "1m30.5s",
        "x-ratelimit-limit-tokens": "-1",
    }
    async with ByteServer([Do.READ, answer(COMPLETION, headers=headers)]) as server, Ours(server) as ours:
        handle = await ours.execute()
        assert isinstance(handle, RunHandle)
        assert handle.request_id == "req-1"
        assert handle.limits_seen.requests == LimitSeen(limit=600, remaining=599, reset_s=90.5)
        assert handle.limits_seen.tokens is None
        assert ours.runner.rate_limits is handle.limits_seen
        assert [one.text_delta for one in await anext(handle)] == ["hello"]
        with pytest.raises(StopAsyncIteration):
            await anext(handle)
        sent = head(server.conversations[0])
        assert sent[""] == "POST /v1/chat/completions HTTP/1.1"
        assert sent["authorization"] == f"Bearer {CANARY}"
        assert sent["content-type"] == "application/json"
        assert json.loads(server.conversations[0].requests[0])["model"] == "m"


async def test_many_who_come_first_share_one_session():
    script = [step for _ in range(4) for step in (Do.READ, answer(COMPLETION, headers=JSON))]
    async with ByteServer(script) as server, Ours(server) as ours:
        await asyncio.gather(*(ours.ask() for _ in range(4)))
        assert ours.runner.session.generation == 1
        assert ours.runner.session.snapshot.in_flight == 0


async def test_who_is_cancelled_while_the_session_is_made_does_not_take_it_from_others():
    async with ByteServer([Do.READ, answer(COMPLETION, headers=JSON)]) as server:
        async with Ours(server, api_key=SecretRef(from_command=("echo", "k"))) as ours:
            first, second = asyncio.create_task(ours.ask()), asyncio.create_task(ours.ask())
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).text == "hello"
            assert first.cancelled()


async def test_a_runner_closed_while_its_session_is_made_leaves_nothing():
    async with ByteServer([]) as server:
        ours = Ours(server, api_key=SecretRef(from_command=("sleep", "5")))
        asking = asyncio.create_task(ours.ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await ours.runner.aclose()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_chunks_of_one_read_travel_together_and_the_connection_is_used_again():
    stream = [
        SSE_HEAD + chunk(EVENT % b"a" + EVENT % b"b"),
        0.02,
        chunk(b": ping\n\n"),
        0.02,
        chunk(FINISH + DONE),
        0.02,
        b"0\r\n\r\n",
    ]
    async with (
        ByteServer([Do.READ, *stream, Do.READ, answer(COMPLETION, headers=JSON)]) as server,
        Ours(server) as ours,
    ):
        handle = await ours.execute(stream=True)
        reads = [[one.text_delta for one in chunks] async for chunks in handle]
        assert reads == [["a", "b"], [], [""]]
        assert (await ours.ask()).text == "hello"
        assert len(server.conversations) == 1


async def test_a_stream_is_over_at_its_marker_even_if_the_server_never_ends_the_bytes():
    async with (
        ByteServer([Do.READ, SSE_HEAD + chunk(EVENT % b"a" + FINISH + DONE), Do.STALL]) as server,
        Ours(server) as ours,
    ):
        async with asyncio.timeout(2):
            assert (await ours.ask(stream=True)).text == "a"
            await server.conversations[0].gone.wait()
        assert ours.runner.session.snapshot.in_flight == 0


async def test_what_came_with_an_error_in_one_read_is_given_out_before_it():
    error = b'data: {"error":{"message":"busy","type":"server_error","code":null}}\n\n'
    async with (
        ByteServer([Do.READ, SSE_HEAD + chunk(EVENT % b"a" + error + DONE), Do.STALL]) as server,
        Ours(server) as ours,
    ):
        handle = await ours.execute(stream=True)
        assert [one.text_delta for one in await anext(handle)] == ["a"]
        with pytest.raises(ServerError) as caught:
            await anext(handle)
        assert caught.value.provider == "openai"
        assert caught.value.sent
        async with asyncio.timeout(2):
            await server.conversations[0].gone.wait()
        with pytest.raises(StopAsyncIteration):
            await anext(handle)


async def test_an_error_before_any_content_is_raised_at_once():
    error = b'data: {"error":{"message":"x","type":"rate_limit_error","code":"rate_limit_exceeded"}}\n\n'
    async with ByteServer([Do.READ, SSE_HEAD + chunk(error), Do.STALL]) as server, Ours(server) as ours:
        await ours.fail(RateLimited, stream=True)


@pytest.mark.parametrize("cut", [EVENT % b"a", EVENT % b"a" + FINISH, b""])
async def test_a_clean_end_without_the_marker_is_incomplete(cut):
    pieces = chunk(cut) if cut else b""
    async with ByteServer([Do.READ, SSE_HEAD + pieces + b"0\r\n\r\n"]) as server, Ours(server) as ours:
        error = await ours.fail(NetworkError, stream=True)
        assert error.reason == "incomplete"
        assert ours.runner.session.snapshot.in_flight == 0


async def test_geminis_bare_error_after_events_is_found():
    event = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]}}]}\r\n\r\n'
    tail = b'{\n  "error": {\n    "code": 503,\n    "message": "busy",\n    "status": "UNAVAILABLE"\n  }\n}\n'
    async with ByteServer([Do.READ, SSE_HEAD + chunk(event) + chunk(tail) + b"0\r\n\r\n"]) as server:
        async with Ours(server, config=GeminiConfig) as ours:
            error = await ours.fail(ServerError, stream=True)
            assert (error.status, error.message, error.provider) == (503, "busy", "gemini")


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"", JSON, "empty"),
        (b"", {}, "empty"),
        (b"<html><title>x</title></html>", {"content-type": "text/html"}, "content_type"),
        (b"{]", {"content-type": "text/plain"}, "content_type"),
        (b"{]", JSON, "malformed"),
        (b"{}", JSON, "schema"),
        (EVENT % b"a", {"content-type": "text/event-stream"}, "content_type"),
    ],
)
async def test_a_200_that_is_no_answer(body, headers, reason):
    async with ByteServer([Do.READ, answer(body, headers=headers)]) as server, Ours(server) as ours:
        error = await ours.fail(ServerError)
        assert (error.reason, error.retryable, error.status) == (reason, True, 200)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/json; charset=utf-8"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_in_json_is_taken_whatever_it_is_called_and_whole_where_a_stream_was_asked_for(kind, stream):
    headers = {} if kind is None else {"content-type": kind}
    async with ByteServer([Do.READ, answer(COMPLETION, headers=headers)]) as server, Ours(server) as ours:
        tokens = await ours.ask(stream=stream)
        assert (tokens.text, tokens.usage) == ("hello", Usage(input_tokens=3, output_tokens=1))


async def test_a_page_where_a_stream_was_asked_for():
    async with (
        ByteServer([Do.READ, answer(b"<html>", headers={"content-type": "text/html"})]) as server,
        Ours(server) as ours,
    ):
        assert (await ours.fail(ServerError, stream=True)).reason == "content_type"


async def test_an_error_with_status_200_keeps_the_status_its_body_tells():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    async with ByteServer([Do.READ, answer(body, headers=JSON)]) as server:
        async with Ours(server, config=AnthropicConfig) as ours:
            assert (await ours.fail(ServerError)).status == 529


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [(204, "empty", True), (304, "empty", True), (302, "redirect", False), (307, "redirect", False)],
)
async def test_statuses_without_an_answer(status, reason, retryable):
    reply = answer(b"", status=status, headers={"location": "http://127.0.0.1:1/"})
    async with ByteServer([Do.READ, reply]) as server, Ours(server) as ours:
        error = await ours.fail(ServerError)
        assert (error.reason, error.retryable, error.status) == (reason, retryable, status)


async def test_a_refusal_tells_its_wait_and_what_the_provider_named():
    body = b'{"error":{"message":"Unsupported value","type":"invalid_request_error","param":"temperature","code":"unsupported_value"}}'
    slow = answer(
        b'{"error":{"message":"slow","type":"requests","code":"rate_limit_exceeded"}}',
        429,
        JSON | {"retry-after-ms": "1500"},
    )
    spent = answer(
        b'{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}',
        429,
        JSON | {"x-should-retry": "false"},
    )
    script = [Do.READ, answer(body, 400, JSON), Do.READ, slow, Do.READ, spent]
    async with ByteServer(script) as server, Ours(server) as ours:
        assert (await ours.fail(BadRequest)).param == "temperature"
        assert (await ours.fail(RateLimited)).retry_after == 1.5
        assert (await ours.fail(QuotaExhausted)).retry_after is None
        assert len(server.conversations) == 1


async def test_x_should_retry_false_is_final():
    reply = answer(b'{"error":{"message":"x"}}', 500, JSON | {"X-Should-Retry": "false"})
    async with ByteServer([Do.READ, reply]) as server, Ours(server) as ours:
        assert not (await ours.fail(ServerError)).retryable


async def test_anthropics_own_error_body_is_kept_whole():
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"%s"},"request_id":"req_1"}' % (
        b"long " * 1000
    )
    async with ByteServer([Do.READ, answer(body, 400, JSON)]) as server:
        async with Ours(server, config=AnthropicConfig) as ours:
            error = await ours.fail(BadRequest)
            assert json.loads(error.native) == json.loads(body)
            assert len(error.body) <= 2048


async def test_a_credential_shows_nowhere():
    quoted = answer(b'{"error":{"message":"Incorrect API key provided: %s"}}' % CANARY.encode(), 401, JSON)
    async with ByteServer([Do.READ, quoted]) as server, Ours(server) as ours:
        error = await ours.fail(Unauthorized)
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        shown += repr(error) + repr(error.__dict__) + repr(ours.runner) + repr(ours.runner.session)
        assert "CANARY" not in shown.replace("KEY': 'sk-CANARY", "")
        assert pickle.loads(pickle.dumps(error)).generation == 1


async def test_a_refused_credential_is_read_again_and_what_is_in_flight_keeps_its_own():
    refused = answer(b'{"error":{"message":"no"}}', 401, JSON)
    first = [Do.READ, refused, Do.READ, SSE_HEAD + chunk(EVENT % b"a"), Do.READ, Do.STALL]
    async with ByteServer(first, [Do.READ, answer(COMPLETION, headers=JSON)]) as server, Ours(server) as ours:
        error = await ours.fail(Unauthorized)
        streaming = await ours.execute(stream=True)
        await anext(streaming)
        with pytest.raises(Unauthorized) as caught:
            await ours.runner.rebuild_session(error)
        assert caught.value.reason == "same_credential"
        old = ours.runner.session.snapshot
        ours.environ["KEY"] = "sk-other"
        await ours.runner.rebuild_session(None)
        assert (await ours.ask()).text == "hello"
        assert head(server.conversations[1])["authorization"] == "Bearer sk-other"
        assert old.in_flight == 1
        await streaming.aclose()
        assert old.in_flight == 0


async def test_a_source_without_a_credential_is_unauthorized_and_asked_again_next_time(tmp_path):
    path = tmp_path / "key"
    async with ByteServer([Do.READ, answer(COMPLETION, headers=JSON)]) as server:
        async with Ours(server, api_key=SecretRef(from_file=str(path))) as ours:
            error = await ours.fail(Unauthorized)
            assert (error.reason, error.provider) == ("rebuild_failed", "openai")
            path.write_text("sk-late\n")
            assert (await ours.ask()).text == "hello"


async def test_headers_of_a_request_go_along_but_never_a_credential():
    script = [Do.READ, answer(b'{"content":[],"stop_reason":"end_turn"}', headers=JSON)]
    async with ByteServer(script) as server, Ours(server, config=AnthropicConfig, beta=("a",)) as ours:
        await ours.ask(extra_headers={"Anthropic-Beta": "b", "X-Mine": "1"})
        sent = head(server.conversations[0])
        assert (sent["anthropic-beta"], sent["x-mine"]) == ("a,b", "1")
        for name in ("Authorization", "x-api-key", "Host", "Content-Length", "Cookie", "Proxy-Authorization"):
            await ours.fail(BadRequest, extra_headers={name: "x"})
        await ours.fail(BadRequest, extra_headers={"x-split": "a\r\nb: c"})
        assert len(server.conversations[0].requests) == 1
        assert ours.runner.session.snapshot.in_flight == 0


async def test_embeddings_come_on_the_handle():
    body = b'{"data":[{"index":0,"embedding":[1,2]}],"usage":{"prompt_tokens":1}}'
    async with ByteServer([Do.READ, answer(body, headers=JSON)]) as server, Ours(server) as ours:
        handle = await ours.execute(messages=(), inputs=("a",), stream=True)
        assert handle.vectors == ((1.0, 2.0),)
        assert [[one.usage for one in chunks] async for chunks in handle] == [[Usage(input_tokens=1)]]
        assert head(server.conversations[0])[""] == "POST /v1/embeddings HTTP/1.1"


async def test_a_blocked_prompt_of_a_stream_is_content_filtered():
    event = b'data: {"promptFeedback":{"blockReason":"SAFETY"}}\r\n\r\n'
    async with ByteServer([Do.READ, SSE_HEAD + chunk(event) + b"0\r\n\r\n"]) as server:
        async with Ours(server, config=GeminiConfig) as ours:
            assert not (await ours.fail(ContentFiltered, stream=True)).retryable


async def test_a_request_that_can_not_be_written_costs_nothing():
    async with ByteServer([]) as server, Ours(server) as ours:
        error = await ours.fail(BadRequest, extra={"x": object()})
        assert error.provider == "openai"
        assert server.conversations == []


async def test_the_user_agent_is_this_version():
    async with ByteServer([Do.READ, answer(COMPLETION, headers=JSON)]) as server, Ours(server) as ours:
        await ours.ask()
        assert head(server.conversations[0])["user-agent"] == f"spillway/{spillway.__version__}"
