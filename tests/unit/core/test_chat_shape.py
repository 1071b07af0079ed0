"""Answers as OpenAI chat completions: the pieces of a stream add up to the whole, and both read like the provider's own."""

from spillway.core.building import TokensBuilder
from spillway.core.chat_shape import completion, completion_chunk, embeddings_list, usage_shape
from spillway.core.reply import Embeddings, FinishReason, TokenChunk, Tokens, ToolCall, ToolCallDelta, Usage

ABOUT = {"model": "m", "completion_id": "c", "created": 7}
SIGNED = {"extra_content": {"google": {"thought_signature": "sig"}}}
CHUNKS = [
    TokenChunk(reasoning_delta="hm, "),
    TokenChunk(reasoning_delta="well"),
    TokenChunk(text_delta="It is ", extra={"annotations": [{"type": "url_citation", "n": 1}]}),
    TokenChunk(text_delta="sunny.", extra={"annotations": [{"type": "url_citation", "n": 2}], "audio": {"id": "a"}}),
    TokenChunk(text_delta="", extra={"audio": {"data": "UklG"}}, logprobs={"content": [{"token": "It"}]}),
    TokenChunk(logprobs={"content": [{"token": "is"}]}),
    TokenChunk(tool_call_delta=ToolCallDelta(index=1, id="call_2", name="g", arguments="free text", custom=True)),
    TokenChunk(tool_call_delta=ToolCallDelta(index=0, id="call_1", name="f", arguments='{"a"', extra=SIGNED)),
    TokenChunk(tool_call_delta=ToolCallDelta(index=0, arguments=":1}")),
    TokenChunk(finish_reason=FinishReason.TOOL_CALLS),
    TokenChunk(text_delta="Rain.", choice=1),
    TokenChunk(refusal_delta="I can't.", finish_reason=FinishReason.STOP, choice=1),
    TokenChunk(usage=Usage(input_tokens=9, output_tokens=5, cached_tokens=4), about={"service_tier": "flex"}),
]


def built():
    builder = TokensBuilder()
    for chunk in CHUNKS:
        builder.add(chunk)
    return builder.build(deployment="d")


def test_chunks_add_up_whatever_they_carry():
    tokens = built()
    assert (tokens.text, tokens.reasoning, tokens.finish_reason) == ("It is sunny.", "hm, well", "tool_calls")
    assert tokens.tool_calls == (
        ToolCall(id="call_1", name="f", arguments='{"a":1}', extra=SIGNED),
        ToolCall(id="call_2", name="g", arguments="free text", custom=True),
    )
    assert tokens.extra == {
        "annotations": [{"type": "url_citation", "n": 1}, {"type": "url_citation", "n": 2}],
        "audio": {"id": "a", "data": "UklG"},
    }
    assert tokens.logprobs == {"content": [{"token": "It"}, {"token": "is"}]}
    assert tokens.about == {"service_tier": "flex"}
    assert [(each.index, each.text, each.refusal) for each in tokens.choices] == [
        (0, "It is sunny.", ""),
        (1, "Rain.", "I can't."),
    ]
    assert TokensBuilder().build() == Tokens()


def test_nothing_that_was_added_is_changed():
    before = [repr(chunk) for chunk in CHUNKS]
    built()
    assert [repr(chunk) for chunk in CHUNKS] == before


def test_what_is_counted_of_an_answer_without_usage_is_all_that_it_says():
    builder = TokensBuilder()
    for chunk in CHUNKS:
        builder.add(chunk)
    said = "hm, well" + "It is sunny." + "free text" + '{"a":1}' + "Rain." + "I can't."
    assert builder.output_chars() == len(said)


def test_a_whole_completion():
    whole = completion(built(), **ABOUT)
    first, second = whole.pop("choices")
    assert whole == {
        "id": "c",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "service_tier": "flex",
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }
    message = first["message"]
    assert (first["index"], first["finish_reason"], message["role"], message["content"]) == (
        0,
        "tool_calls",
        "assistant",
        "It is sunny.",
    )
    assert message["reasoning_content"] == "hm, well" and message["audio"] == {"id": "a", "data": "UklG"}
    assert message["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}, **SIGNED},
        {"id": "call_2", "type": "custom", "custom": {"name": "g", "input": "free text"}},
    ]
    assert first["logprobs"] == {"content": [{"token": "It"}, {"token": "is"}]}
    assert second == {
        "index": 1,
        "message": {"role": "assistant", "content": "Rain.", "refusal": "I can't."},
        "finish_reason": "stop",
    }


def test_a_message_goes_back_as_it_came():
    assert built().message() == completion(built(), **ABOUT)["choices"][0]["message"]
    assert Tokens(refusal="no").message() == {"role": "assistant", "content": None, "refusal": "no"}
    assert Tokens().message() == {"role": "assistant", "content": ""}


def test_chunks_read_like_the_providers_own():
    shown = [completion_chunk(chunk, **ABOUT) for chunk in CHUNKS]
    assert {each["object"] for each in shown} == {"chat.completion.chunk"}
    assert shown[0]["choices"] == [{"index": 0, "delta": {"reasoning_content": "hm, "}, "finish_reason": None}]
    assert shown[6]["choices"][0]["delta"]["tool_calls"] == [
        {"index": 1, "id": "call_2", "type": "custom", "custom": {"name": "g", "input": "free text"}}
    ]
    assert shown[8]["choices"][0]["delta"]["tool_calls"] == [{"index": 0, "function": {"arguments": ":1}"}}]
    assert shown[9]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert shown[11]["choices"][0]["index"] == 1 and shown[11]["choices"][0]["delta"] == {"refusal": "I can't."}
    assert shown[12]["choices"] == [] and shown[12]["usage"]["total_tokens"] == 14


def test_usage_names_the_classes_that_were_used():
    used = Usage(input_tokens=10, output_tokens=8, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=6)
    assert usage_shape(used) == {
        "prompt_tokens": 10,
        "completion_tokens": 8,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 6},
    }


def test_vectors_are_a_list_of_embeddings():
    found = Embeddings(vectors=((0.5, 1.0), (0.25, 2.0)), usage=Usage(input_tokens=3))
    assert embeddings_list(found, model="m") == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": (0.5, 1.0)},
            {"object": "embedding", "index": 1, "embedding": (0.25, 2.0)},
        ],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
