"""The `anthropic` package, unchanged, through a served gateway, whatever runtime answers."""

from __future__ import annotations

import asyncio

import pytest
from judging import judged
from served import BEHIND, KEY, UPSTREAM, gateway, simulators, table

pytestmark = pytest.mark.xdist_group("judge-gateway-anthropic")

THINKING = {"type": "enabled", "budget_tokens": 1024}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
SEEN = [{"role": "user", "content": [IMAGE, {"type": "text", "text": "What is it?"}]}]
COUNTS = ("openai", "responses", "anthropic", "gemini")
THINKS = ("anthropic", "gemini", "litellm-claude")
FAULTS = ("429-retry-after=2", "insufficient-quota", "500", "529", "401", "403", "context-length", "content-filter")
BROKEN = ("reset-mid-stream", "truncated-stream", "error-event-mid-stream")


def rows():
    """All cases, as `(name, door, asked, more)`."""
    for name in BEHIND:
        asked = {"model": name}
        yield f"{name}: create", "create", asked, {}
        yield f"{name}: beta", "beta", asked, {}
        yield f"{name}: stream", "stream", asked, {}
        yield f"{name}: text_stream", "text_stream", asked, {}
        yield f"{name}: a raw stream", "raw_stream", asked, {}
        yield f"{name}: system", "create", {**asked, "system": [{"type": "text", "text": "be brief"}]}, {}
        yield f"{name}: cut", "create", {**asked, "max_tokens": 3}, {}
        yield f"{name}: an image", "create", {**asked, "messages": SEEN}, {}
        yield f"{name}: tools", "tools", asked, {}
        yield f"{name}: streamed tools", "tools", asked, {"stream": True}
        yield f"{name}: structured", "parse", asked, {}
        if name in COUNTS:
            yield f"{name}: count", "count", asked, {}
        else:
            yield f"{name}: count", "fails", asked, {"counts": True}
        if name in THINKS:
            yield f"{name}: thinking", "create", {**asked, "thinking": THINKING}, {}
            yield f"{name}: streamed thinking", "stream", {**asked, "thinking": THINKING}, {}
    yield "bearer", "bearer", {"model": "openai"}, {}
    yield "no such key", "fails", {"model": "openai"}, {"key": "key-of-nobody"}
    yield "no such model", "fails", {"model": "claude-nothing"}, {}
    yield "a field that there is not", "fails", {"model": "anthropic", "extra_body": {"temperature": 0.5}}, {}
    yield "a field for another", "fails", {"model": "openai", "extra_body": {"top_k": 3}}, {}
    for fault in FAULTS:
        for runtime in ("anthropic", "openai"):
            yield f"{fault}: {runtime}", "fails", {"model": f"{runtime} {fault}"}, {}
    for fault in BROKEN:
        for runtime in ("anthropic", "openai", "gemini"):
            yield f"{fault}: {runtime}", "fails", {"model": f"{runtime} {fault}"}, {"stream": True}


CASES = {name: {"name": name, "door": door, "asked": asked, **more} for name, door, asked, more in rows()}


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    async def hear():
        async with simulators(*FAULTS, *BROKEN) as running:
            tables = [table(name, model, own, running[None].url + path) for name, (model, own, path) in BEHIND.items()]
            for fault in (*FAULTS, *BROKEN):
                for name in ("anthropic", "openai", "gemini"):
                    model, own, path = BEHIND[name]
                    tables.append(table(f"{name} {fault}", model, own, running[fault].url + path))
            async with gateway(tmp_path_factory.mktemp("gateway"), tables) as url:
                verdicts = await judged("anthropic_gateway.py", url, KEY, list(CASES.values()))
            asked = {fault: simulator.stats() for fault, simulator in running.items()}
            return verdicts, asked

    return asyncio.run(hear())


@pytest.fixture
def verdict(heard, request):
    return heard[0][request.param]


def of(kind):
    """The cases of a kind: their names end in it."""
    return [name for name in CASES if name.endswith(f": {kind}")]


@pytest.mark.parametrize("name", CASES)
def test_the_client_takes_it_without_a_word(heard, name):
    verdict = heard[0][name]
    assert "trace" not in verdict, verdict["trace"]
    assert verdict["warnings"] == []
    assert UPSTREAM not in str(verdict)


@pytest.mark.parametrize(
    "name", [*of("create"), *of("beta"), *of("stream"), *of("text_stream"), *of("system"), *of("an image")]
)
def test_it_is_answered(heard, name):
    verdict = heard[0][name]
    assert verdict["text"] and verdict["stop"] == "end_turn"
    assert verdict["usage"][0] > 0 and verdict["usage"][1] > 0


@pytest.mark.parametrize("name", of("text_stream"))
def test_the_pieces_are_the_text(heard, name):
    assert heard[0][name]["pieces"] == heard[0][name]["text"]


@pytest.mark.parametrize("name", BEHIND)
def test_whole_and_streamed_are_the_same(heard, name):
    whole, streamed = heard[0][f"{name}: create"], heard[0][f"{name}: stream"]
    for field in ("blocks", "text", "stop", "usage"):
        assert whole[field] == streamed[field]
    events = heard[0][f"{name}: a raw stream"]["events"]
    assert events[0] == "message_start" and events[-2:] == ["message_delta", "message_stop"]


@pytest.mark.parametrize("name", of("create"))
def test_the_headers_tell(heard, name):
    verdict = heard[0][name]
    assert verdict["headers"]["x-spillway-deployment"] == name.partition(":")[0]
    assert verdict["headers"]["x-spillway-attempts"] == "1"
    assert verdict["request_id"] == verdict["headers"]["x-request-id"]


@pytest.mark.parametrize("name", of("cut"))
def test_an_answer_that_was_cut_says_so(heard, name):
    assert heard[0][name]["stop"] == "max_tokens"


@pytest.mark.parametrize("name", [*of("tools"), *of("streamed tools")])
def test_tools_make_a_round(heard, name):
    verdict = heard[0][name]
    first, last = verdict["first"], verdict["last"]
    assert first["stop"] == "tool_use"
    ((call_id, tool, given),) = first["calls"]
    assert call_id and tool == "weather" and given.keys() == {"city", "days"}
    assert last["text"] and not last["calls"] and last["stop"] == "end_turn"


@pytest.mark.parametrize("name", [*of("thinking"), *of("streamed thinking")])
def test_thinking_is_told_and_signed(heard, name):
    verdict = heard[0][name]
    assert verdict["thinking"] and verdict["signed"] and verdict["text"]
    assert verdict["blocks"][0] == "thinking"


@pytest.mark.parametrize("name", of("structured"))
def test_an_answer_has_its_shape(heard, name):
    assert heard[0][name]["parsed"] == ["str", "int"]


@pytest.mark.parametrize("name", [f"{name}: count" for name in COUNTS])
def test_tokens_are_counted_by_the_provider(heard, name):
    assert heard[0][name]["counted"] > 0


@pytest.mark.parametrize("name", [f"{name}: count" for name in BEHIND if name not in COUNTS])
def test_a_provider_that_counts_nothing_is_named_and_nothing_guessed(heard, name):
    verdict = heard[0][name]
    assert (verdict["class"], verdict["status"]) == ("BadRequestError", 400)
    assert "can't be counted" in verdict["body"]["error"]["message"]


def test_a_bearer_token_is_a_key(heard):
    assert heard[0]["bearer"]["text"]


ERRORS = {
    "no such key": ("AuthenticationError", 401, "authentication_error"),
    "no such model": ("NotFoundError", 404, "not_found_error"),
    "a field that there is not": ("BadRequestError", 400, "invalid_request_error"),
    "a field for another": ("BadRequestError", 400, "invalid_request_error"),
    "429-retry-after=2: anthropic": ("RateLimitError", 429, "rate_limit_error"),
    "429-retry-after=2: openai": ("RateLimitError", 429, "rate_limit_error"),
    "insufficient-quota: openai": ("PaymentRequiredError", 402, "billing_error"),
    "500: anthropic": ("InternalServerError", 502, "api_error"),
    "500: openai": ("InternalServerError", 502, "api_error"),
    "529: anthropic": ("InternalServerError", 502, "overloaded_error"),
    "401: anthropic": ("InternalServerError", 502, "authentication_error"),
    "401: openai": ("InternalServerError", 502, "api_error"),
    "403: anthropic": ("InternalServerError", 502, "permission_error"),
    "context-length: anthropic": ("BadRequestError", 400, "invalid_request_error"),
    "context-length: openai": ("BadRequestError", 400, "invalid_request_error"),
    "content-filter: openai": ("BadRequestError", 400, "invalid_request_error"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_has_its_class_and_shape(heard, name):
    verdict = heard[0][name]
    kind, status, of_type = ERRORS[name]
    assert (verdict["class"], verdict["status"]) == (kind, status)
    body = verdict["body"]
    assert body["type"] == "error" and body["error"]["type"] == of_type and body["error"]["message"]
    assert verdict["request_id"] == verdict["headers"]["x-request-id"]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_client_retries_what_is_useless(heard, fault):
    """The package retries twice by itself, unless it is told that this changes nothing."""
    assert heard[1][fault]["asked"] == 2, "one attempt for each of the two deployments that were asked"
    for runtime in ("anthropic", "openai"):
        verdict = heard[0][f"{fault}: {runtime}"]
        if verdict["class"] is not None:
            assert verdict["headers"]["x-should-retry"] == "false"


@pytest.mark.parametrize("name", [f"{fault}: {runtime}" for fault in BROKEN for runtime in ("anthropic", "openai")])
def test_a_stream_that_breaks_ends_in_an_error_and_not_in_a_message(heard, name):
    verdict = heard[0][name]
    assert verdict["class"] == "APIStatusError"
    assert verdict["body"]["type"] == "error"
    of_type = "overloaded_error" if name.startswith("error-event") and name.endswith("anthropic") else "api_error"
    assert verdict["body"]["error"]["type"] == of_type
