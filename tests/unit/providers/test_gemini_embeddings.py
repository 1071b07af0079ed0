"""Gemini's embeddings and counts."""

from __future__ import annotations

import json

import pytest
from gemini_pieces import said, wire

from spillway.core.errors import BadRequest, RateLimited, ServerError
from spillway.core.reply import Usage
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses


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


def test_the_tasks_type_goes_in_each_apis_spelling():
    for spelling in ("taskType", "task_type"):
        extra = {spelling: "RETRIEVAL_DOCUMENT", "title": "t", "outputDimensionality": 2, "encoding_format": "float"}
        request = GenerateRequest(inputs=("a",), extra=extra)
        sent = json.loads(wire("m").encode(request, Losses("gemini"), stream=False)[1])
        assert sent["requests"] == [
            {
                "model": "models/m",
                "content": {"parts": [{"text": "a"}]},
                "taskType": "RETRIEVAL_DOCUMENT",
                "title": "t",
                "outputDimensionality": 2,
            }
        ]
        request = GenerateRequest(inputs=("a",), extra={**extra, "autoTruncate": False})
        sent = json.loads(wire("m", variant="vertex").encode(request, Losses("gemini"), stream=False)[1])
        assert sent == {
            "instances": [{"content": "a", "task_type": "RETRIEVAL_DOCUMENT", "title": "t"}],
            "parameters": {"outputDimensionality": 2, "autoTruncate": False},
        }


def test_token_numbers_and_what_has_no_counterpart_are_refused_by_name():
    for fields, place in (
        ({"inputs": ("a", (1, 2))}, r"inputs\[1\]"),
        ({"inputs": ("a",), "extra": {"user": "u"}}, "extra.user"),
        ({"inputs": ("a",), "extra": {"encoding_format": "int8"}}, "encoding_format"),
    ):
        with pytest.raises(BadRequest, match=place):
            wire("m").encode(GenerateRequest(**fields), Losses("gemini"), stream=False)


def test_tokens_are_counted_with_instructions_and_tools():
    tool = {"type": "function", "function": {"name": "f"}}
    request = GenerateRequest(messages=(said("system", "s"), said("user", "u")), tools=(tool,), counts=True)
    url, sent = wire("m").encode(request, Losses("gemini"), stream=False)
    assert url.endswith("/v1beta/models/m:countTokens")
    assert json.loads(sent) == {
        "generateContentRequest": {
            "model": "models/m",
            "contents": [{"role": "user", "parts": [{"text": "u"}]}],
            "systemInstruction": {"parts": [{"text": "s"}]},
            "tools": [{"functionDeclarations": [{"name": "f"}]}],
        }
    }
    url, sent = wire("m", variant="vertex", project="p").encode(request, Losses("gemini"), stream=False)
    assert url.endswith("/publishers/google/models/m:countTokens")
    assert json.loads(sent).keys() == {"contents", "systemInstruction", "tools"}
    assert wire().decode_count(b'{"totalTokens": 7, "totalBillableCharacters": 20}') == 7
    with pytest.raises(ServerError):
        wire().decode_count(b"{}")
    with pytest.raises(ServerError):
        wire().decode_count(b"<")
    with pytest.raises(RateLimited):
        wire().decode_count(b'{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}')
