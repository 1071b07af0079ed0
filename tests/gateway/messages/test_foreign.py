"""A body of Anthropic's on its way to other providers: what is carried, refused, and left out with a word."""

import msgspec
import pytest
from anthropic_bodies import PNG, user

import spillway
from spillway.gateway.dialects.anthropic_ask import read_message
from spillway.providers.encoding import Losses
from spillway.providers.foreign import in_chat_words
from spillway.providers.gemini.runner import GeminiWire
from spillway.providers.litellm.runner import LiteLlmWire
from spillway.providers.openai.runner import OpenAiWire
from spillway.providers.takes import Takes

MARK = {"type": "ephemeral"}
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
BODY = {"model": "m", "max_tokens": 9, "messages": [user("hi")]}


def carried(takes=None, *, lenient=True, **fields):
    request = read_message(BODY | fields, {}, idempotency_id="one").request
    losses = Losses("test", lenient=lenient)
    return in_chat_words(request, losses, takes or Takes()), [line.partition(": ")[0] for line in losses.warnings]


def sent_by(wire, *, lenient=False, **fields):
    request = read_message(BODY | fields, {}, idempotency_id="one").request
    losses = Losses(wire.kind, lenient=lenient)
    _, body = wire.encode(in_chat_words(request, losses, wire.takes), losses, stream=False)
    return msgspec.json.decode(body)


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 30000}}, "high"),
    ],
)
def test_how_hard_to_think(fields, effort):
    request, told = carried(lenient=False, **fields)
    assert (request.reasoning_effort, request.extra, told) == (effort, None, [])


def test_what_no_answer_depends_on_is_no_reason_to_refuse():
    request, told = carried(
        lenient=False,
        system=[{"type": "text", "text": "rules", "cache_control": MARK}],
        tools=[{**TOOL, "cache_control": MARK, "eager_input_streaming": True}],
        metadata={"user_id": "u" * 65},
        context_management={"edits": []},
        cache_control=MARK,
        speed="standard",
    )
    assert request.messages[0] == {"role": "system", "content": [{"type": "text", "text": "rules"}]}
    assert list(request.tools) == [
        {"type": "function", "function": {"name": "f", "parameters": TOOL["input_schema"]}},
    ]
    assert request.extra is None
    assert sorted(told) == sorted(
        ["metadata.user_id", "context_management", "cache_control", "cache_control"] + ["tools", "tools"]
    )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"top_k": 5}, "top_k"),
        ({"speed": "fast"}, "speed"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"invented": 1}, "invented"),
        ({"output_config": {"task_budget": 5}}, "output_config.task_budget"),
        ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, "tools"),
        ({"tools": [{**TOOL, "input_examples": [{}]}]}, "tools"),
        ({"messages": [user("x"), {"role": "assistant", "content": "begun"}]}, "messages"),
    ],
)
def test_what_has_no_counterpart_is_refused_or_left_out_with_a_word(fields, named):
    with pytest.raises(spillway.BadRequest, match=named):
        carried(lenient=False, **fields)
    request, told = carried(**fields)
    assert len(told) == 1 and told[0].startswith(named.partition(".")[0])
    assert not request.extra


def test_a_block_without_a_counterpart_is_never_left_out():
    block = {"type": "search_result", "source": "s", "title": "t", "content": []}
    with pytest.raises(spillway.BadRequest, match="search_result"):
        carried(messages=[{"role": "user", "content": [block]}])


def test_names_that_are_others_elsewhere():
    request, told = carried(Takes(user=True), lenient=False, metadata={"user_id": "u"}, service_tier="standard_only")
    assert request.extra == {"safety_identifier": "u", "service_tier": "default"}
    assert told == []


def history(*, error=False, content="42"):
    result = {"type": "tool_result", "tool_use_id": "t1", "content": content}
    if error:
        result["is_error"] = True
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    said = {"role": "assistant", "content": [thought, {**CALL, "cache_control": MARK}]}
    return [user("q"), said, {"role": "user", "content": [result, {"type": "text", "text": "go"}]}]


def test_a_conversation_with_tools():
    request, told = carried(lenient=False, messages=history(error=True), tools=[TOOL])
    assert list(request.messages) == [
        user("q"),
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "42"},
        {"role": "user", "content": [{"type": "text", "text": "go"}]},
    ]
    assert sorted(told) == ["cache_control", "messages[1].thinking_blocks", "messages[2].is_error"]


def test_a_picture_in_a_result_follows_it_where_results_are_text():
    shown = [{"type": "text", "text": "look"}, IMAGE]
    request, _ = carried(messages=history(content=shown))
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    assert request.messages[2]["content"] == [{"type": "text", "text": "look"}]
    assert request.messages[3] == {"role": "user", "content": [url]}
    request, _ = carried(Takes(media=True), messages=history(content=shown))
    assert request.messages[2]["content"] == [{"type": "text", "text": "look"}, url]


def test_a_file_of_text_is_text_and_another_has_a_name():
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "abc"}, "title": "T"}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
    request, told = carried(lenient=False, messages=[{"role": "user", "content": [text, pdf]}])
    assert request.messages[0]["content"] == [
        {"type": "text", "text": "T:\n\nabc"},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "document.pdf"}},
    ]
    assert told == []
    cited = {**pdf, "citations": {"enabled": True}}
    with pytest.raises(spillway.BadRequest, match="citations"):
        carried(lenient=False, messages=[{"role": "user", "content": [cited]}])


def test_thinking_alone_leaves_no_message():
    thought = {"type": "redacted_thinking", "data": "x"}
    messages = [user("q"), {"role": "assistant", "content": [thought]}, user("and?")]
    request, _ = carried(lenient=False, messages=messages)
    assert list(request.messages) == [user("q"), user("and?")]


@pytest.mark.parametrize(
    "wire",
    [
        OpenAiWire(spillway.OpenAiConfig(), "gpt-5"),
        OpenAiWire(spillway.OpenAiConfig(api="responses"), "gpt-5"),
        GeminiWire(spillway.GeminiConfig(), "gemini-3-pro"),
        LiteLlmWire(spillway.LiteLlmConfig(), "gpt-5"),
        LiteLlmWire(spillway.LiteLlmConfig(), "claude-opus-5-5"),
    ],
    ids=["openai", "responses", "gemini", "litellm", "litellm-claude"],
)
def test_what_a_coding_agent_sends_is_refused_by_nobody(wire):
    sent = sent_by(
        wire,
        system=[{"type": "text", "text": "You are an agent.", "cache_control": MARK}],
        messages=history(error=True, content=[{"type": "text", "text": "no"}, IMAGE]),
        tools=[{**TOOL, "cache_control": MARK, "eager_input_streaming": True}],
        metadata={"user_id": "user_" + "f" * 64},
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        temperature=1,
    )
    assert "agent" in str(sent) and "high" in str(sent).lower()


def test_openai_is_sent_what_it_has():
    wire = OpenAiWire(spillway.OpenAiConfig(), "gpt-5")
    sent = sent_by(
        wire,
        system="be brief",
        tools=[TOOL],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 9000},
        messages=history(),
    )
    assert sent["reasoning_effort"] == "medium"
    assert sent["tool_choice"] == "required" and sent["parallel_tool_calls"] is False
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert sent["max_completion_tokens"] == 9
    assert not sent.keys() & {"thinking", "system", "metadata"}


def test_gemini_is_sent_what_it_has_and_asked_to_tell_its_thinking():
    wire = GeminiWire(spillway.GeminiConfig(), "gemini-3-pro")
    thinking = {"type": "enabled", "budget_tokens": 9000}
    sent = sent_by(wire, thinking=thinking, top_k=5, tools=[TOOL], messages=history(error=True, content=[IMAGE]))
    assert sent["generationConfig"] == {
        "maxOutputTokens": 9,
        "topK": 5,
        "thinkingConfig": {"thinkingLevel": "MEDIUM", "includeThoughts": True},
    }
    answered = sent["contents"][2]["parts"][0]["functionResponse"]
    assert answered["response"] == {"error": ""} and answered["parts"][0]["inlineData"]["data"] == PNG
    quiet = sent_by(wire, thinking={**thinking, "display": "omitted"})
    assert quiet["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "MEDIUM"}


def test_a_proxy_is_sent_all_for_a_claude_and_openais_words_for_another():
    fields = {
        "thinking": {"type": "enabled", "budget_tokens": 9000},
        "output_config": {"effort": "high"},
        "system": [{"type": "text", "text": "rules", "cache_control": MARK}],
        "messages": history(),
    }
    claude = sent_by(LiteLlmWire(spillway.LiteLlmConfig(), "anthropic/claude-haiku-4-5"), **fields)
    assert claude["thinking"] == fields["thinking"] and claude["reasoning_effort"] == "high"
    assert "output_config" not in claude
    assert claude["messages"][0]["content"] == fields["system"]
    assert claude["messages"][2]["thinking_blocks"][0]["signature"] == "s"
    other = sent_by(LiteLlmWire(spillway.LiteLlmConfig(), "gpt-5"), **fields)
    assert "thinking" not in other and other["reasoning_effort"] == "high"
    assert other["messages"][0]["content"] == [{"type": "text", "text": "rules"}]
