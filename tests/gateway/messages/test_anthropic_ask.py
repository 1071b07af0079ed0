"""Anthropic's bodies, read: what each part of one becomes, and that Anthropic's runtime makes the same of it again."""

import pytest
from anthropic_bodies import PNG, again, user

import spillway
from spillway.gateway.dialects.anthropic_ask import read_message
from spillway.gateway.dialects.anthropic_signature import SIGNATURE

MARK = {"type": "ephemeral", "ttl": "1h"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = {"name": "f", "description": "does", "input_schema": SCHEMA}


def read(body, **headers):
    return read_message(body, headers, idempotency_id="one")


def request_of(**fields):
    return read({"model": "m", "max_tokens": 9, "messages": [user("hi")], **fields}).request


def said(*blocks, role="user"):
    return request_of(messages=[{"role": role, "content": list(blocks)}]).messages


def test_the_fields_that_both_apis_have():
    asked = read(
        {
            "model": "claude",
            "max_tokens": 7,
            "messages": [user("hi")],
            "system": "be brief",
            "temperature": 0.5,
            "top_p": 0.9,
            "stop_sequences": ["END"],
            "stream": True,
        }
    )
    request = asked.request
    assert asked.model == "claude" and asked.stream
    assert list(request.messages) == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    assert (request.max_tokens, request.temperature, request.top_p, request.stop) == (7, 0.5, 0.9, ["END"])
    assert request.extra is None and request.idempotency_id == "one"


def test_the_body_and_the_headers_of_anthropic_go_along_as_they_came():
    body = {"model": "m", "max_tokens": 1, "messages": [user("hi")], "context_management": {"edits": []}}
    request = read(body, **{"anthropic-beta": "a,b", "anthropic-version": "v", "x-api-key": "k", "cookie": "c"}).request
    assert request.native.wire == "anthropic"
    assert request.native.body is body
    assert request.native.headers == {"anthropic-beta": "a,b", "anthropic-version": "v"}
    assert request.extra == {"context_management": {"edits": []}}


def test_results_of_tools_are_messages_of_their_own_in_their_place():
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "42", "is_error": True, "cache_control": MARK}
    bare = {"type": "tool_result", "tool_use_id": "t2"}
    assert said(result, bare, {"type": "text", "text": "go on"}) == [
        {"role": "tool", "tool_call_id": "t1", "content": "42", "is_error": True, "cache_control": MARK},
        {"role": "tool", "tool_call_id": "t2", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": "go on"}]},
    ]


def test_a_result_may_hold_blocks():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    (message,) = said({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}, image]})
    assert message["content"][0] == {"type": "text", "text": "x"}
    assert message["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"


def test_calls_and_thinking_of_an_assistant():
    thought = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "cache_control": MARK}
    (message,) = said(thought, {"type": "text", "text": "ok"}, call, role="assistant")
    assert message == {
        "role": "assistant",
        "content": "ok",
        "thinking_blocks": [thought],
        "tool_calls": [
            {
                "id": "t1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a":1}'},
                "cache_control": MARK,
            }
        ],
    }


def test_an_unusual_order_is_told():
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    (message,) = said(call, {"type": "text", "text": "after"}, role="assistant")
    assert message["block_order"] == ["tool", "content"]


def test_thinking_that_we_signed_is_taken_back_by_nobody():
    ours = {"type": "thinking", "thinking": "hm", "signature": SIGNATURE}
    theirs = {"type": "thinking", "thinking": "hm", "signature": "real"}
    text = {"type": "text", "text": "ok"}
    body = {
        "model": "m",
        "messages": [
            user("hi"),
            {"role": "assistant", "content": [ours, theirs, text]},
            user("and?"),
            {"role": "assistant", "content": [ours]},
        ],
    }
    request = read(body).request
    assert [message.get("thinking_blocks") for message in request.messages] == [None, [theirs], None, None]
    assert request.native.body["messages"] == [
        user("hi"),
        {"role": "assistant", "content": [theirs, text]},
        user("and?"),
    ]


@pytest.mark.parametrize(
    ("source", "became"),
    [
        ({"type": "url", "url": "https://x/i.png"}, {"url": "https://x/i.png"}),
        ({"type": "file", "file_id": "file_1"}, {"file_id": "file_1"}),
    ],
)
def test_images(source, became):
    (message,) = said({"type": "image", "source": source, "cache_control": MARK})
    assert message["content"] == [{"type": "image_url", "image_url": became, "cache_control": MARK}]


def test_documents():
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    text = {"type": "text", "media_type": "text/plain", "data": "plain"}
    content = {"type": "document", "source": {"type": "content", "content": []}}
    (message,) = said(
        {"type": "document", "source": pdf, "title": "t", "context": "c", "citations": {"enabled": True}},
        {"type": "document", "source": text},
        {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
        content,
    )
    files = [part.get("file") for part in message["content"]]
    assert files[0] == {
        "file_data": "data:application/pdf;base64,AAAA",
        "filename": "t",
        "context": "c",
        "citations": {"enabled": True},
    }
    assert files[1]["file_data"].startswith("data:text/plain;base64,")
    assert files[2] == {"file_url": "https://x/a.pdf"}
    assert message["content"][3] == content


def test_tools_are_functions_and_the_providers_own_stay():
    server = {"type": "web_search_20260318", "name": "web_search", "max_uses": 3}
    request = request_of(tools=[{**TOOL, "cache_control": MARK, "eager_input_streaming": True}, server])
    assert request.tools == [
        {
            "type": "function",
            "function": {"name": "f", "description": "does", "parameters": SCHEMA},
            "cache_control": MARK,
            "eager_input_streaming": True,
        },
        server,
    ]


@pytest.mark.parametrize(
    ("choice", "became"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_choices(choice, became):
    assert request_of(tools=[TOOL], tool_choice=choice).tool_choice == became
    alone = request_of(tools=[TOOL], tool_choice={**choice, "disable_parallel_tool_use": True})
    assert alone.extra == {"parallel_tool_calls": False}


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_the_schema_of_an_answer(field):
    form = {"type": "json_schema", "schema": SCHEMA}
    request = request_of(**{field: {"format": form, "effort": "low"} if field == "output_config" else form})
    assert request.response_format == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True},
    }
    assert request.extra == ({"output_config": {"effort": "low"}} if field == "output_config" else None)


def test_a_schema_that_openai_would_not_take_as_strict_is_not_called_so():
    loose = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}}}}
    request = request_of(output_config={"format": {"type": "json_schema", "schema": loose}})
    assert "strict" not in request.response_format["json_schema"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, r"messages\[0\]"),
        ({"messages": [{"content": "hi"}]}, r"messages\[0\]"),
        ({"messages": [user("x")], "max_tokens": "9"}, "max_tokens"),
        ({"messages": [user("x")], "max_tokens": -1}, "max_tokens"),
        ({"messages": [user("x")], "model": 7}, "model"),
        ({"messages": [user("x")], "system": 7}, "system"),
        ({"messages": [user("x")], "tools": ["f"]}, r"tools\[0\]"),
        ({"messages": [user("x")], "tool_choice": {"type": "maybe"}}, "tool_choice"),
        ({"messages": [user("x")], "tool_choice": {"type": ["any"]}}, "tool_choice"),
        ({"messages": [user("x")], "output_config": {"format": {"type": "xml"}}}, "output_config"),
    ],
)
def test_what_can_not_be_read_is_named(body, named):
    with pytest.raises(spillway.BadRequest, match=named):
        read(body)


def test_a_whole_conversation_comes_back_as_it_was():
    body = {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "rules", "cache_control": MARK}, {"type": "text", "text": "more"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "look", "cache_control": MARK}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "text", "text": "first"},
                    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
                    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
                    {"type": "text", "text": "then", "cache_control": MARK},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, 2.5, None, "\u00e9"]}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "no"}]},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        "tools": [{**TOOL, "cache_control": MARK}, {"type": "bash_20250124", "name": "bash"}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
        "metadata": {"user_id": "u"},
        "service_tier": "standard_only",
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "stop_sequences": ["END"],
        "stream": True,
    }
    expected = {**body}
    expected["messages"] = [*body["messages"][:2], {"role": "user", "content": [*body["messages"][2]["content"]]}]
    expected["messages"][2]["content"][0] = {"type": "tool_result", "tool_use_id": "t1", "content": "no"}
    assert again(read(body)) == expected
