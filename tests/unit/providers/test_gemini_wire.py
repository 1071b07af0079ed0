"""Gemini's wire: bodies out, responses in."""

from __future__ import annotations

import json

import pytest

from spillway.core.building import TokensBuilder
from spillway.core.errors import BadRequest, ContentFiltered, NetworkError, ServerError
from spillway.core.reply import FinishReason, Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.encoding import Losses
from spillway.providers.gemini import GeminiConfig, SafetySetting
from spillway.providers.gemini.runner import GeminiWire

USER = ({"role": "user", "content": "hi"},)
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def wire(model="gemini-3.8-flash", **options) -> GeminiWire:
    return GeminiWire(GeminiConfig(**options), model)


def body(*messages, model="gemini-3.8-flash", options=None, **fields) -> dict:
    request = GenerateRequest(messages=messages or USER, **fields)
    return json.loads(wire(model, **(options or {})).encode(request, Losses("gemini"), stream=False)[1])


def whole(body):
    return built(wire().decode(body)[0])


def built(chunks):
    builder = TokensBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build()


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def test_a_plain_request():
    assert body() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


@pytest.mark.parametrize(
    ("options", "unary", "header"),
    [
        ({}, "https://generativelanguage.googleapis.com/v1beta/models/gemini-3.8-flash:generateContent", "x-goog-api-key"),
        ({"endpoint": "http://h:1/"}, "http://h:1/v1beta/models/gemini-3.8-flash:generateContent", "x-goog-api-key"),
        (
            {"variant": "vertex", "project": "p", "region": "europe-west1"},
            "https://europe-west1-aiplatform.googleapis.com/v1/projects/p/locations/europe-west1/publishers/google/models/"
            "gemini-3.8-flash:generateContent",
            "authorization",
        ),
        (
            {"variant": "vertex", "project": "p"},
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/models/"
            "gemini-3.8-flash:generateContent",
            "authorization",
        ),
        (
            {"variant": "vertex", "project": "p", "region": "eu"},
            "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/publishers/google/models/"
            "gemini-3.8-flash:generateContent",
            "authorization",
        ),
        (
            {"variant": "vertex"},
            "https://aiplatform.googleapis.com/v1/publishers/google/models/gemini-3.8-flash:generateContent",
            "x-goog-api-key",
        ),
    ],
)  # fmt: skip
def test_urls_and_credentials(options, unary, header):
    one = wire("models/gemini-3.8-flash", **options)
    assert one.encode(GenerateRequest(messages=USER), Losses("gemini"), stream=False)[0] == unary
    streamed = one.encode(GenerateRequest(messages=USER), Losses("gemini"), stream=True)[0]
    assert streamed == unary.replace(":generateContent", ":streamGenerateContent?alt=sse")
    assert "k" in one.headers(Secret("k"))[header]
    assert "key=" not in unary


@pytest.mark.parametrize(
    "options",
    [{"variant": "x"}, {"project": "p"}, {"variant": "vertex", "credentials": Secret("{}")}],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ValueError):
        GeminiConfig(**options)


def test_instructions_turns_and_generation_settings():
    sent = body(
        said("system", "be brief"),
        said("system", "be kind"),
        said("user", "a"),
        said("user", "b"),
        said("assistant", "c"),
        said("assistant", ""),
        said("user", "d"),
        max_tokens=5,
        temperature=0.2,
        top_p=0.9,
        stop="END",
        seed=7,
        response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        reasoning_effort="xhigh",
        options={"safety": (SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_ONLY_HIGH"),)},
        extra={
            "generationConfig": {"topK": 40, "thinkingConfig": {"includeThoughts": True}},
            "cachedContent": "cachedContents/abc",
            "presence_penalty": 0.5,
            "n": 1,
        },
    )
    assert sent == {
        "systemInstruction": {"parts": [{"text": "be brief\n\nbe kind"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
            {"role": "model", "parts": [{"text": "c"}]},
            {"role": "user", "parts": [{"text": "d"}]},
        ],
        "generationConfig": {
            "maxOutputTokens": 5,
            "temperature": 0.2,
            "topP": 0.9,
            "seed": 7,
            "stopSequences": ["END"],
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingLevel": "XHIGH", "includeThoughts": True},
            "topK": 40,
            "presencePenalty": 0.5,
        },
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
        "cachedContent": "cachedContents/abc",
    }


def test_older_models_think_by_budget():
    assert body(model="gemini-2.5-flash", reasoning_effort="none")["generationConfig"] == {
        "thinkingConfig": {"thinkingBudget": 0}
    }
    with pytest.raises(BadRequest, match="reasoning_effort"):
        body(reasoning_effort="none")


def test_tools_calls_and_results_are_translated():
    sent = body(
        said("user", "go"),
        said("assistant", None, tool_calls=[CALL]),
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        model="gemini-2.5-flash",
        tools=[TOOL, {"type": "function", "function": {"name": "g"}}, {"googleSearch": {}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
    )
    assert sent["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}},
                {"name": "g"},
            ]
        },
        {"googleSearch": {}},
    ]
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}
    assert sent["contents"][1] == {
        "role": "model",
        "parts": [{"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}}],
    }
    assert sent["contents"][2] == {
        "role": "user",
        "parts": [{"functionResponse": {"id": "c1", "name": "f", "response": {"output": "42"}}}],
    }


def test_vertex_gets_no_ids_of_calls():
    sent = body(
        said("user", "go"),
        said("assistant", None, tool_calls=[CALL]),
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        options={"variant": "vertex", "project": "p"},
    )
    assert "id" not in sent["contents"][1]["parts"][0]["functionCall"]
    assert "id" not in sent["contents"][2]["parts"][0]["functionResponse"]


def test_signatures_are_sent_back_and_only_the_first_call_of_the_present_turn_needs_one():
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "42"}
    sent = body(
        said("user", "before"),
        said("assistant", None, tool_calls=[CALL]),
        result,
        said("assistant", "done"),
        said("user", "now"),
        said("assistant", None, tool_calls=[CALL, CALL]),
        result,
        said("assistant", None, tool_calls=[signed]),
        result,
    )
    marks = [
        [part.get("thoughtSignature") for part in content["parts"]]
        for content in sent["contents"]
        if content["role"] == "model"
    ]
    assert marks == [[None], [None], ["skip_thought_signature_validator", None], ["c2ln"]]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        ("none", {"mode": "NONE"}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]}},
            {"mode": "VALIDATED", "allowedFunctionNames": ["f"]},
        ),
    ],
)
def test_tool_choices(choice, expected):
    assert body(tools=[TOOL], tool_choice=choice)["toolConfig"]["functionCallingConfig"] == expected


def test_strict_tools_are_validated():
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    assert body(tools=[strict])["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert body(tools=[strict], tool_choice="required")["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, r"tools\[0\]"),
        ({"extra": {"parallel_tool_calls": False}}, "parallel_tool_calls"),
        (
            {"messages": [said("user", [{"type": "input_audio", "input_audio": {}}])]},
            r"messages\[0\].content\[0\].input_audio",
        ),
        ({"messages": [said("user", "x"), {"role": "tool", "tool_call_id": "?", "content": "x"}]}, "tool_call_id"),
        (
            {"messages": [said("user", [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}])]},
            "cache_control",
        ),
    ],
)
def test_what_can_not_be_carried_is_refused_by_name(fields, place):
    with pytest.raises(BadRequest, match=place):
        body(*fields.pop("messages", ()), **fields)


WHOLE = {
    "candidates": [
        {
            "index": 0,
            "finishReason": "STOP",
            "content": {
                "role": "model",
                "parts": [{"text": "plan", "thought": True}, {"text": "hi", "thoughtSignature": "x"}],
            },
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "toolUsePromptTokenCount": 7,
        "totalTokenCount": 157,
    },
    "responseId": "abc",
}
USAGE = Usage(input_tokens=107, output_tokens=50, cached_tokens=40, reasoning_tokens=30)


def test_a_whole_response():
    tokens = whole(json.dumps(WHOLE).encode())
    assert (tokens.text, tokens.reasoning, tokens.finish_reason, tokens.usage) == (
        "hi",
        "plan",
        FinishReason.STOP,
        USAGE,
    )


def answer(*parts, finish="STOP", **more):
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}], **more}


def test_function_calls_finish_with_tool_calls_and_get_ids_when_they_have_none():
    response = answer(
        {"functionCall": {"name": "f", "args": {"a": 1}}},
        {"functionCall": {"id": "own", "name": "g"}},
        {"functionCall": {"name": "h", "args": None}},
        responseId="abc",
    )
    tokens = whole(json.dumps(response, separators=(",", ":")).encode())
    assert tokens.finish_reason is FinishReason.TOOL_CALLS
    assert [(c.name, c.arguments) for c in tokens.tool_calls] == [("f", '{"a":1}'), ("g", "{}"), ("h", "{}")]
    ids = [c.id for c in tokens.tool_calls]
    assert ids[1] == "own"
    assert len(set(ids)) == 3


def test_made_up_ids_differ_from_answer_to_answer_and_are_not_sent_back():
    response = json.dumps(answer({"functionCall": {"name": "f", "args": {}}})).encode()
    made, other = (whole(response).tool_calls[0].id for _ in range(2))
    assert made != other
    sent = body(
        said("user", "go"),
        said("assistant", None, tool_calls=[{**CALL, "id": made}]),
        {"role": "tool", "tool_call_id": made, "content": "42"},
    )
    assert "id" not in sent["contents"][1]["parts"][0]["functionCall"]


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("SAFETY", FinishReason.CONTENT_FILTER),
        ("RECITATION", FinishReason.CONTENT_FILTER),
        ("SPII", FinishReason.CONTENT_FILTER),
        ("LANGUAGE", FinishReason.STOP),
        ("SOMETHING_NEW", FinishReason.STOP),
    ],
)
def test_finish_reasons_and_missing_content(finish, expected):
    response = json.dumps({"candidates": [{"finishReason": finish}]}).encode()
    assert whole(response).finish_reason is expected


def test_failures_of_the_model_are_errors():
    with pytest.raises(ServerError) as caught:
        wire().decode(json.dumps(answer(finish="MALFORMED_FUNCTION_CALL")).encode())
    assert caught.value.reason == "malformed_function_call"
    with pytest.raises(BadRequest):
        wire().decode(json.dumps(answer(finish="MISSING_THOUGHT_SIGNATURE")).encode())


def test_a_blocked_prompt_is_content_filtered():
    with pytest.raises(ContentFiltered, match="SAFETY"):
        wire().decode(b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":1}}')


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "empty"),
        (b"<", "malformed"),
        (b"{}", "schema"),
        (b'{"candidates":[]}', "schema"),
        (b'{"candidates":5}', "schema"),
        (b'"x"', "schema"),
    ],
)
def test_an_answer_that_is_none(answer, reason):
    with pytest.raises(ServerError) as caught:
        wire().decode(answer)
    assert caught.value.reason == reason


def test_an_array_of_responses_is_one_answer():
    first = {"candidates": [{"content": {"parts": [{"text": "h"}]}}]}
    tokens = whole(json.dumps([first, answer({"text": "i"})]).encode())
    assert (tokens.text, tokens.finish_reason) == ("hi", FinishReason.STOP)


def streamed(*responses):
    stream = wire().open_stream()
    out = []
    stream.take([(None, json.dumps(one).encode()) for one in responses], out)
    return stream, out


def test_a_stream_is_complete_where_its_bytes_end_after_a_finish_reason():
    stream, out = streamed(
        {
            "candidates": [{"content": {"parts": [{"text": "plan", "thought": True}]}}],
            "usageMetadata": {"promptTokenCount": 1},
        },
        {"candidates": [{"content": {"parts": [{"text": "h"}]}, "finishReason": "STOP"}]},
        {"candidates": [{"content": {"parts": [{"text": "i"}]}, "finishReason": "STOP"}]},
        {
            "candidates": [{"content": {"parts": [{"text": "", "thoughtSignature": "x"}]}}],
            "usageMetadata": WHOLE["usageMetadata"],
        },
        {"usageMetadata": WHOLE["usageMetadata"]},
    )
    assert not any(chunk.usage or chunk.finish_reason for chunk in out)
    stream.end(b"", [], out)
    assert stream.finished
    assert built(out) == whole(json.dumps(WHOLE).encode())
    assert sum(chunk.usage is not None for chunk in out) == 1


def test_an_end_without_a_finish_reason_is_incomplete():
    stream, out = streamed({"candidates": [{"content": {"parts": [{"text": "h"}]}}]})
    with pytest.raises(NetworkError) as caught:
        stream.end(b"", [(None, b'{"candidates": [{"finishRea')], out)
    assert caught.value.reason == "incomplete"


@pytest.mark.parametrize("form", ["%s", "[%s]"])
def test_an_error_in_a_stream_is_typed_wherever_it_stands(form):
    error = form % '{"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}'
    stream = wire().open_stream()
    with pytest.raises(ServerError) as caught:
        stream.take([(None, error.encode())], [])
    assert caught.value.status == 503
    stream, out = streamed(answer({"text": "x"}))
    with pytest.raises(ServerError) as caught:
        stream.end(b"\n" + error.encode() + b"\r\n", [], out)
    assert caught.value.retryable


def test_embeddings_of_ai_studio_and_vertex():
    request = GenerateRequest(inputs=("a", "b"), extra={"dimensions": 2})
    url, sent = wire("gemini-embedding-001").encode(request, Losses("gemini"), stream=False)
    assert url.endswith("/v1beta/models/gemini-embedding-001:batchEmbedContents")
    assert json.loads(sent)["requests"][1] == {
        "model": "models/gemini-embedding-001",
        "content": {"parts": [{"text": "b"}]},
        "outputDimensionality": 2,
    }
    vectors, usage = wire().decode_vectors(
        b'{"embeddings":[{"values":[1,2]},{"values":[3,4]}],"usageMetadata":{"promptTokenCount":4}}', 2
    )
    assert (vectors, usage) == (((1.0, 2.0), (3.0, 4.0)), Usage(input_tokens=4))

    vertex = wire("gemini-embedding-001", variant="vertex", project="p")
    url, sent = vertex.encode(request, Losses("gemini"), stream=False)
    assert url.endswith(":predict")
    assert json.loads(sent) == {
        "instances": [{"content": "a"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 2},
    }
    predictions = b'{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":4}}}]}'
    assert vertex.decode_vectors(predictions, 1) == (((1.0,),), Usage(input_tokens=4))
    with pytest.raises(ServerError, match="1 vectors for 2 inputs"):
        vertex.decode_vectors(predictions, 2)
