"""Gemini's requests: bodies out."""

from __future__ import annotations

import pytest
from gemini_pieces import CALL, TOOL, USER, body, said, wire

from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.encoding import Losses
from spillway.providers.gemini import GeminiConfig, SafetySetting


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


VERTEX = {"variant": "vertex", "project": "p"}


def signed(signature):
    return {"extra_content": {"google": {"thought_signature": signature}}}


def test_signatures_of_texts_stay_on_the_last_text_of_their_message():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}, **signed("i")}
    native = {"executableCode": {"code": "1"}, "thoughtSignature": "n"}
    sent = body(
        said("user", "go"),
        said("assistant", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], **signed("s1")),
        said("assistant", "c", **signed("s2"), images=[image], native_parts=[native]),
        said("assistant", None, **signed("s3"), tool_calls=[{**CALL, **signed("s4")}, CALL]),
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        said("assistant", "", **signed("s5")),
    )
    shown = [
        [
            (next(iter(part.keys() - {"thoughtSignature"})), part.get("text"), part.get("thoughtSignature"))
            for part in one["parts"]
        ]
        for one in sent["contents"]
        if one["role"] == "model"
    ]
    assert shown == [
        [
            ("text", "a", None),
            ("text", "b", "s1"),
            ("executableCode", None, "n"),
            ("text", "c", "s2"),
            ("inlineData", None, "i"),
            ("text", "", "s3"),
            ("functionCall", None, "s4"),
            ("functionCall", None, None),
        ],
        [("text", "", "s5")],
    ]


def test_words_with_the_results_begin_a_turn_and_the_models_own_words_do_not():
    call, result = said("assistant", None, tool_calls=[CALL]), {"role": "tool", "tool_call_id": "c1", "content": "42"}
    sent = body(said("user", "go"), call, result, said("assistant", "so"), call, result)
    parts = [part for one in sent["contents"] for part in one["parts"] if "functionCall" in part]
    assert ["thoughtSignature" in part for part in parts] == [True, True]
    sent = body(said("user", "go"), call, result, said("user", "and now?"))
    assert "thoughtSignature" not in sent["contents"][1]["parts"][0]


def test_what_goes_into_the_generation_config():
    extra = {
        "n": 2,
        "logprobs": True,
        "top_logprobs": 5,
        "frequency_penalty": 0.1,
        "top_k": 3,
        "include_thoughts": True,
        "modalities": ["text", "image"],
        "service_tier": "default",
        "generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"},
        "safetySettings": [{"category": "A", "threshold": "OFF"}],
    }
    safety = (SafetySetting(category="A", threshold="BLOCK_NONE"), SafetySetting(category="B", threshold="OFF"))
    sent = body(extra=extra, reasoning_effort="low", options={"safety": safety})
    assert sent["generationConfig"] == {
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 5,
        "frequencyPenalty": 0.1,
        "topK": 3,
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
        "responseModalities": ["TEXT", "IMAGE"],
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
    }
    assert sent["serviceTier"] == "standard"
    assert sent["safetySettings"] == [{"category": "B", "threshold": "OFF"}, {"category": "A", "threshold": "OFF"}]


def test_labels_are_vertexs():
    assert body(extra={"metadata": {"a": "b"}}, options=VERTEX)["labels"] == {"a": "b"}
    assert body(extra={"labels": {"a": "b"}}, options=VERTEX)["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"stop": list("abcdef")}, "stop"),
        ({"reasoning_effort": "none"}, "reasoning_effort"),
        ({"extra": {"parallel_tool_calls": False}}, "extra.parallel_tool_calls"),
        ({"extra": {"user": "u"}}, "extra.user"),
        ({"extra": {"logit_bias": {"1": 1}}}, "extra.logit_bias"),
        ({"extra": {"web_search_options": {"x": 1}}}, "extra.web_search_options"),
        ({"extra": {"metadata": {"a": "b"}}}, "extra.metadata"),
        ({"extra": {"labels": {"a": "b"}}}, "extra.labels"),
        ({"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]}, r"tools[0].cache_control"),
        ({"tools": [{"type": "function", "function": {"name": "f", "colour": 1}}]}, r"tools[0].function.colour"),
    ],
)
def test_losses_are_refused_or_told(fields, place):
    request = GenerateRequest(messages=USER, **fields)
    with pytest.raises(BadRequest) as caught:
        wire().encode(request, Losses("gemini"), stream=False)
    assert caught.value.param == place
    losses = Losses("gemini", lenient=True)
    wire().encode(request, losses, stream=False)
    assert [warning.partition(":")[0] for warning in losses.warnings] == [place]


def test_thinking_of_another_provider_is_left_out_with_a_word():
    losses = Losses("gemini")
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    request = GenerateRequest(messages=(*USER, said("assistant", "a", thinking_blocks=[block]), *USER))
    sent = wire().encode(request, losses, stream=False)[1]
    assert b"hm" not in sent
    assert [warning.partition(":")[0] for warning in losses.warnings] == ["messages"]
