"""Requests in the words of the provider's own API, as they go out, and the frames that come back."""

import json

import pytest

import spillway
from spillway.core.building import TokensBuilder
from spillway.core.errors import InferenceError, ServerError
from spillway.core.places import without_places
from spillway.core.request import ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES, GenerateRequest, NativeBody
from spillway.providers import answers
from spillway.providers.answers import StreamedAnswer
from spillway.providers.anthropic.runner import AnthropicWire
from spillway.providers.encoding import Losses
from spillway.providers.litellm.runner import LiteLlmWire
from spillway.providers.openai.runner import OpenAiWire

MESSAGES = [{"role": "user", "content": "hi"}]


def asking(wire, body, **more):
    headers = more.pop("headers", {})
    native = NativeBody(wire=wire, body=body, headers=headers)
    return GenerateRequest(messages=MESSAGES, native=native, **more)


def sent(wire, request, *, stream=False):
    url, body = wire.encode(request, Losses(wire.kind), stream=stream)
    return url, json.loads(body)


def test_anthropic_is_sent_its_own_words():
    wire = AnthropicWire(spillway.AnthropicConfig(endpoint="http://x"), "claude-x")
    body = {"model": "mine", "max_tokens": 5, "messages": MESSAGES, "stream": True, "x_new": 1, "api_key": "k"}
    url, told = sent(wire, asking(ANTHROPIC, body), stream=True)
    assert url == "http://x/v1/messages"
    assert told == {"model": "claude-x", "max_tokens": 5, "messages": MESSAGES, "stream": True, "x_new": 1}
    _, told = sent(wire, asking(ANTHROPIC, {"messages": MESSAGES, "stream": True}))
    assert told == {"model": "claude-x", "max_tokens": 4096, "messages": MESSAGES}


def test_anthropic_counts_its_own_words_without_what_it_does_not_count():
    wire = AnthropicWire(spillway.AnthropicConfig(endpoint="http://x"), "claude-x")
    body = {"model": "mine", "max_tokens": 5, "temperature": 1, "messages": MESSAGES, "x_new": 1}
    url, told = sent(wire, asking(ANTHROPIC, body, counts=True))
    assert url == "http://x/v1/messages/count_tokens"
    assert told == {"model": "claude-x", "messages": MESSAGES, "x_new": 1}


def test_anthropic_headers_of_a_caller_go_with_its_body():
    wire = AnthropicWire(spillway.AnthropicConfig(endpoint="http://x", beta=("a",)), "claude-x")
    own = {"x-api-key": "secret", "anthropic-version": "2026-10-21", "anthropic-beta": "a"}
    given = {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "b,c",
        "anthropic-new": "1",
        "x-api-key": "theirs",
        "cookie": "c",
    }
    merged = wire.native_headers(own, NativeBody(wire=ANTHROPIC, body={}, headers=given))
    assert merged == {
        "x-api-key": "secret",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a,b,c",
        "anthropic-new": "1",
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_tokens": 7}, {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 7, "max_tokens": 900}, {"max_completion_tokens": 7}),
        ({}, {}),
    ],
)
def test_openai_is_told_the_limit_that_was_estimated(given, told):
    wire = OpenAiWire(spillway.OpenAiConfig(), "gpt")
    request = asking(OPENAI_CHAT, {"messages": MESSAGES, **given}, max_tokens=7 if given else None)
    assert sent(wire, request)[1] == {"model": "gpt", "messages": MESSAGES, **told}


def test_openai_is_not_sent_what_it_refuses_of_earlier_answers():
    said = [{"role": "assistant", "content": "a", "reasoning_content": "r"}, *MESSAGES]
    request = GenerateRequest(messages=said, native=NativeBody(wire=OPENAI_CHAT, body={"messages": said}))
    losses = Losses("openai")
    _, body = OpenAiWire(spillway.OpenAiConfig(), "gpt").encode(request, losses, stream=False)
    assert json.loads(body)["messages"] == [{"role": "assistant", "content": "a"}, *MESSAGES]
    assert losses.warnings


def test_the_responses_api_is_sent_its_own_words():
    wire = OpenAiWire(spillway.OpenAiConfig(api="responses"), "gpt")
    url, told = sent(wire, asking(OPENAI_RESPONSES, {"input": "hi", "model": "m", "x_new": 1}), stream=True)
    assert url.endswith("/responses")
    assert told == {"model": "gpt", "input": "hi", "x_new": 1, "stream": True}


@pytest.mark.parametrize(
    ("wire", "others"),
    [
        (OpenAiWire(spillway.OpenAiConfig(), "m"), OPENAI_RESPONSES),
        (OpenAiWire(spillway.OpenAiConfig(api="responses"), "m"), OPENAI_CHAT),
        (LiteLlmWire(spillway.LiteLlmConfig(), "m"), ANTHROPIC),
        (AnthropicWire(spillway.AnthropicConfig(), "m"), OPENAI_CHAT),
    ],
)
def test_other_words_are_translated(wire, others):
    request = asking(others, {"x_new": 1})
    assert wire.native(request) is None
    assert "x_new" not in sent(wire, request)[1]


def test_fields_that_name_a_place_are_left_out_wherever_a_proxy_looks():
    kept = {"model": "m", "metadata": {"client_id": "theirs"}, "mcp_servers": [{"url": "http://x"}]}
    assert without_places(kept) is kept
    given = {
        **kept,
        "api_base": "u",
        "aws_role_name": "r",
        "langfuse_host": "h",
        "fallbacks": ["a", {"model": "b", "api_key": "k", "extra_body": {"base_url": "u"}}],
    }
    assert without_places(given) == {**kept, "fallbacks": ["a", {"model": "b", "extra_body": {}}]}


class Reads:
    """A response that comes in these pieces."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    async def read_some(self):
        return self.pieces.pop(0) if self.pieces else b""

    def abort(self):
        self.pieces.clear()


class Lease:
    secrets = ()

    def release(self):
        pass


def relaying(*pieces):
    wire = OpenAiWire(spillway.OpenAiConfig(), "m")
    return StreamedAnswer("openai", Reads(*pieces), Lease(), wire.open_stream(), "", None, relays=OPENAI_CHAT)


def event(text):
    return b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % text


async def test_a_read_that_was_repeated_is_kept_twice_and_a_repeated_ping_once():
    empty = event(b"")
    answer = relaying(empty, empty, empty, event(b"ha"), event(b"ha"), b"data: [DONE]\n\n")
    reads = [chunks async for chunks in answer]
    assert [len(each) for each in reads] == [0, 0, 0, 1, 1, 1]
    assert [data for _, data in answer.take_frames()] == [
        each[6:-2] for each in (empty, event(b"ha"), event(b"ha"), b"data: [DONE]\n\n")
    ]
    assert answer.take_frames() == []


async def test_a_frame_that_says_the_stream_failed_is_never_given_out():
    failing = b'data: {"error":{"message":"no"}}\n\n'
    answer = relaying(event(b"a") + failing + event(b"never"))
    assert [chunk.text_delta for chunk in await anext(answer)] == ["a"]
    with pytest.raises(InferenceError):
        await anext(answer)
    assert [data for _, data in answer.take_frames()] == [event(b"a")[6:-2]]


async def test_what_nobody_takes_is_bounded(monkeypatch):
    monkeypatch.setattr(answers, "MOST_HELD", 200)
    answer = relaying(*[event(b"%d" % number) for number in range(10)])
    with pytest.raises(ServerError, match="nobody took"):
        async for _ in answer:
            pass


async def test_an_end_that_lacks_its_blank_line_is_a_frame_too():
    answer = relaying(event(b"a"), b"data: [DONE]")
    assert sum([len(chunks) async for chunks in answer]) == 2
    assert [data for _, data in answer.take_frames()] == [event(b"a")[6:-2], b"[DONE]"]


async def test_texts_that_are_only_counted_are_one_chunk_a_read():
    more = (
        b'data: {"choices":[{"delta":{"reasoning_content":"r","content":"d"}},{"index":1,"delta":{"content":"x"}}]}\n\n'
    )
    end = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
    answer = relaying(event(b"a") + event(b"b") + more + end, b"data: [DONE]\n\n")
    built = TokensBuilder()
    reads = []
    async for chunks in answer:
        reads.append(len(chunks))
        for chunk in chunks:
            built.add(chunk)
    whole = built.build()
    assert reads == [4, 1]
    assert (whole.text, whole.reasoning, whole.finish_reason) == ("abd", "r", "stop")
    assert [choice.text for choice in whole.choices] == ["abd", "x"]
    assert len(answer.take_frames()) == 5
