"""Gemini's answers: responses in."""

from __future__ import annotations

import json

import pytest
from gemini_pieces import CALL, answer, body, built, said, streamed, whole, wire

from spillway.core.errors import BadRequest, ContentFiltered, NetworkError, ServerError
from spillway.core.reply import FinishReason, Usage

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


def both(*responses):
    """The tokens of the responses as a stream, and of their array."""
    stream, out = streamed(*responses)
    stream.end(b"", [], out)
    found = whole(json.dumps(list(responses)).encode())
    assert built(out) == found
    return found


def test_every_kind_of_part_has_its_place():
    image = {"mimeType": "image/png", "data": "AA=="}
    tokens = both(
        answer(
            {"text": "a", "thoughtSignature": "s1"},
            {"inlineData": image, "thoughtSignature": "s2"},
            {"inlineData": {"mimeType": "audio/L16", "data": "AA=="}},
            {"inlineData": image, "thought": True},
            {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "s3"},
            {"toolCall": {"id": "t"}, "somethingNew": 1},
            {"text": "b"},
            {"text": "", "thoughtSignature": "s4"},
            {"thoughtSignature": "s5"},
            {"functionCall": {"name": "f", "args": {"a": [1, 2.50]}}, "thoughtSignature": "s6"},
            responseId="r",
        )
    )
    assert tokens.text == "ab"
    assert tokens.tool_calls[0].arguments == '{"a":[1,2.5]}'
    assert tokens.tool_calls[0].extra == {"extra_content": {"google": {"thought_signature": "s6"}}}
    assert tokens.extra["extra_content"] == {"google": {"thought_signature": "s5"}}
    (shown,) = tokens.extra["images"]
    assert shown["image_url"]["url"] == "data:image/png;base64,AA=="
    assert shown["extra_content"] == {"google": {"thought_signature": "s2"}}
    assert [part.keys() - {"thoughtSignature"} for part in tokens.extra["native_parts"]] == [
        {"inlineData"},
        {"inlineData", "thought"},
        {"executableCode"},
        {"toolCall", "somethingNew"},
    ]


def test_arguments_are_the_same_however_they_are_spaced():
    spaced = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{\n  "a" : 1,\n "b": "x  y"\n}}}]},"finishReason":"STOP"}]}'
    assert whole(spaced).tool_calls[0].arguments == '{"a":1,"b":"x  y"}'


def piece(path, **value):
    return {"functionCall": {"partialArgs": [{"jsonPath": path, **value}], "willContinue": True}}


def test_streamed_arguments_are_put_together_by_their_paths():
    parts = [
        {"functionCall": {"name": "f", "willContinue": True}, "thoughtSignature": "s"},
        piece("$.a", stringValue="x", willContinue=True),
        piece("$.a", stringValue="y"),
        piece("$.b.c[1].d", numberValue=2),
        piece("$['b']['e f']", boolValue=True),
        piece("$.n", nullValue="NULL_VALUE"),
        {"functionCall": {}},
        {"functionCall": {"name": "g", "args": {}}},
    ]
    tokens = both(*(answer(part, responseId="r") for part in parts))
    assert [(call.name, call.arguments) for call in tokens.tool_calls] == [
        ("f", '{"a":"xy","b":{"c":[null,{"d":2}],"e f":true},"n":null}'),
        ("g", "{}"),
    ]
    assert tokens.finish_reason is FinishReason.TOOL_CALLS
    unfinished = both(*(answer(part, responseId="r") for part in parts[:2]))
    assert unfinished.tool_calls[0].arguments == '{"a":"x"}'
    replaced = both(*(answer(part, responseId="r") for part in (*parts[:2], parts[-1])))
    assert [call.arguments for call in replaced.tool_calls] == ['{"a":"x"}', "{}"]


@pytest.mark.parametrize("path", ["", "$", "a", "$[0]", "$.a..b", "$.a[99999999]", "$.x.y"])
def test_a_path_that_leads_nowhere_is_malformed(path):
    with pytest.raises(ServerError) as caught:
        streamed(
            answer({"functionCall": {"name": "f", "willContinue": True}}),
            answer(piece("$.x", stringValue="")),
            answer(piece(path, stringValue="")),
        )
    assert caught.value.reason == "malformed"


def test_several_candidates_are_choices_and_all_must_end():
    first = {
        "candidates": [
            {"index": 0, "content": {"parts": [{"text": "a"}]}},
            {"index": 1, "content": {"parts": [{"text": "b"}]}},
        ]
    }
    ends = [{"candidates": [{"index": at, "finishReason": how}]} for at, how in enumerate(("STOP", "NEW_REASON"))]
    tokens = both(first, *ends)
    assert [(one.text, one.finish_reason) for one in tokens.choices] == [("a", "stop"), ("b", "stop")]
    assert tokens.about == {
        "native_finish_reason": "STOP",
        "other_candidates": {"1": {"native_finish_reason": "NEW_REASON"}},
    }
    stream, out = streamed(first, ends[0])
    with pytest.raises(NetworkError):
        stream.end(b"", [], out)


def test_what_an_answer_says_of_itself():
    one = {
        "content": {"parts": [{"text": "ab"}]},
        "citationMetadata": {
            "citationSources": [{"startIndex": 0, "endIndex": 1, "uri": "https://c", "license": "MIT"}]
        },
        "logprobsResult": {
            "chosenCandidates": [{"token": "ab", "tokenId": 1, "logProbability": -0.5}],
            "topCandidates": [
                {"candidates": [{"token": "ab", "logProbability": -0.5}, {"token": "x", "logProbability": -2}]}
            ],
        },
    }
    two = {
        "finishReason": "OTHER",
        "finishMessage": "why",
        "avgLogprobs": -0.1,
        "safetyRatings": [{"category": "C", "probability": "LOW"}],
        "citationMetadata": one["citationMetadata"],
        "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://w", "title": "w"}}, {"unknown": {}}],
            "groundingSupports": [{"segment": {"startIndex": 1, "endIndex": 2}, "groundingChunkIndices": [0, 1, 9]}],
        },
    }
    usage = {
        "promptTokenCount": 3,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
        "trafficType": "ON_DEMAND",
    }
    tokens = both({"candidates": [one]}, {"candidates": [two], "usageMetadata": usage, "modelVersion": "m-1"})
    assert tokens.logprobs == {
        "content": [
            {
                "token": "ab",
                "logprob": -0.5,
                "bytes": None,
                "top_logprobs": [
                    {"token": "ab", "logprob": -0.5, "bytes": None},
                    {"token": "x", "logprob": -2, "bytes": None},
                ],
            }
        ]
    }
    assert [source["url_citation"]["url"] for source in tokens.extra["annotations"]] == ["https://c", "https://w"]
    assert tokens.about.keys() == {
        "model", "native_finish_reason", "citation_metadata", "grounding_metadata", "safety_ratings", "avg_logprobs",
        "finish_message", "traffic_type", "tokens_details",
    }  # fmt: skip
    assert (tokens.about["native_finish_reason"], tokens.about["finish_message"]) == ("OTHER", "why")
    assert len(tokens.about["citation_metadata"]["citationSources"]) == 1


def test_an_event_that_tells_nothing_known_is_passed_on():
    stream, out = streamed({"somethingNew": {"a": 1}}, answer({"text": "x"}, unknown=[1]))
    assert json.loads(out[0].raw) == {"somethingNew": {"a": 1}}
    assert [chunk.text_delta for chunk in out[1:]] == ["x"]
    assert stream.complete


def test_a_blocked_prompt_says_why():
    feedback = {"promptFeedback": {"blockReason": "JAILBREAK", "blockReasonMessage": "no tricks"}}
    with pytest.raises(ContentFiltered, match="JAILBREAK: no tricks"):
        streamed(feedback)
