"""The door of responses and the provider that asks for responses are each other's way back."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from spillway.core.building import TokensBuilder
from spillway.core.reply import FinishReason, TokenChunk, Tokens, ToolCall, ToolCallDelta, Usage
from spillway.gateway.dialects.responses_request import read_response
from spillway.gateway.dialects.responses_sealed import seal, unseal
from spillway.gateway.dialects.responses_shape import Frame, response
from spillway.gateway.dialects.responses_stream import ResponseEvents
from spillway.providers.encoding import Losses
from spillway.providers.openai.responses import ResponseStream, decode_response, encode_response
from spillway.remote.sse import SseDecoder

words = st.text(min_size=1, max_size=12)
names = st.sampled_from(["weather", "tides"])
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}


def fail(said):
    raise AssertionError(said)


def built(chunks):
    builder = TokensBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build()


calls = st.lists(
    st.builds(
        lambda name, words, custom: ToolCall(id="", name=name, arguments=words, custom=custom),
        names,
        words,
        st.booleans(),
    ),
    max_size=3,
).map(lambda found: tuple(msgspec.structs.replace(call, id=f"call_{at}") for at, call in enumerate(found)))


@st.composite
def answers(draw):
    said = draw(calls)
    text = draw(st.one_of(words, st.just("") if said else words))
    refusal = "" if said else draw(st.sampled_from(["", "no"]))
    finish = FinishReason.TOOL_CALLS if said else FinishReason.CONTENT_FILTER if refusal else FinishReason.STOP
    if draw(st.booleans()):
        finish = FinishReason.LENGTH
    usage = Usage(input_tokens=5, output_tokens=4, cached_tokens=2, cache_write_tokens=1, reasoning_tokens=3)
    return Tokens(
        text=text,
        refusal=refusal,
        reasoning=draw(st.sampled_from(["", "hm"])),
        tool_calls=said,
        finish_reason=finish,
        usage=draw(st.sampled_from([None, usage])),
    )


def chunks_of(tokens):
    """An answer in pieces of one character."""
    for each in tokens.reasoning:
        yield TokenChunk(reasoning_delta=each)
    for each in tokens.text:
        yield TokenChunk(text_delta=each)
    for each in tokens.refusal:
        yield TokenChunk(refusal_delta=each)
    for at, call in enumerate(tokens.tool_calls):
        yield TokenChunk(tool_call_delta=ToolCallDelta(index=at, id=call.id, name=call.name, custom=call.custom))
        for each in call.arguments:
            yield TokenChunk(tool_call_delta=ToolCallDelta(index=at, arguments=each))
    yield TokenChunk(finish_reason=tokens.finish_reason, usage=tokens.usage)


def same(found, said):
    fields = ("text", "refusal", "reasoning", "tool_calls", "finish_reason", "usage")
    assert {name: getattr(found, name) for name in fields} == {name: getattr(said, name) for name in fields}


def frame():
    return Frame({"input": "x"}, model="m", created=1)


@given(answers())
def test_a_whole_answer_is_read_as_it_was(said):
    body = msgspec.json.encode(response(said, frame()))
    chunks, _ = decode_response(body, fail, fail)
    same(built(chunks), said)


@given(answers(), st.integers(min_value=1, max_value=9))
def test_a_streamed_answer_is_read_as_it_was(said, size):
    events = ResponseEvents(frame())
    pieces = list(chunks_of(said))
    data = b"".join(events.take(pieces[at : at + size]) for at in range(0, len(pieces), size)) + events.end()
    stream, out = ResponseStream(fail, fail), []
    stream.take(SseDecoder(keep_unknown=True).feed_data(data), out)
    assert stream.finished
    assert not [chunk.raw for chunk in out if chunk.raw and b"response.in_progress" not in chunk.raw][1:]
    same(built(out), said)


parts = st.one_of(
    st.builds(lambda text: {"type": "input_text", "text": text}, words),
    st.just({"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"}),
    st.just({"type": "input_file", "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}),
    st.just({"type": "input_file", "file_id": "file_1"}),
)
asked = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "developer", "system"]),
    st.one_of(words, st.lists(parts, min_size=1, max_size=3)),
)
reasoned = st.builds(
    lambda words: {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": words}, names
)
answered = st.builds(lambda text: {"role": "assistant", "content": text}, words)
called = st.builds(
    lambda name, number: [
        {"type": "function_call", "call_id": f"call_{number}", "name": name, "arguments": "{}"},
        {"type": "function_call_output", "call_id": f"call_{number}", "output": "sunny"},
    ],
    names,
    st.integers(0, 99),
)
shelled = st.just(
    [
        {"type": "custom_tool_call", "call_id": "call_x", "name": "sh", "input": "ls"},
        {"type": "custom_tool_call_output", "call_id": "call_x", "output": [{"type": "input_text", "text": "a"}]},
    ]
)
turns = st.one_of(
    asked.map(lambda item: [item]),
    st.tuples(asked, answered).map(list),
    st.tuples(asked, reasoned, answered).map(list),
    st.tuples(asked, called).map(lambda pair: [pair[0], *pair[1]]),
    st.tuples(asked, reasoned, called).map(lambda found: [*found[:2], *found[2]]),
    st.tuples(asked, shelled).map(lambda pair: [pair[0], *pair[1]]),
)
inputs = st.lists(turns, min_size=1, max_size=4).map(lambda runs: [item for run in runs for item in run])
FUNCTION = {"type": "function", "name": "weather", "description": "d", "parameters": CITY, "strict": True}
GRAMMAR = {"type": "custom", "name": "sh", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}}
ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]}
settings = st.fixed_dictionaries(
    {},
    optional={
        "max_output_tokens": st.just(5),
        "temperature": st.just(0.5),
        "top_p": st.just(0.25),
        "reasoning": st.just({"effort": "low"}),
        "text": st.sampled_from(
            [
                {"format": {"type": "json_schema", "name": "s", "strict": True, "schema": CITY}},
                {"format": {"type": "json_object"}, "verbosity": "low"},
                {"verbosity": "high"},
            ]
        ),
        "parallel_tool_calls": st.just(False),
        "user": st.just("u"),
        "prompt_cache_key": st.just("k"),
        "truncation": st.just("auto"),
        "max_tool_calls": st.just(3),
    },
)
tools = st.one_of(
    st.just({}),
    st.builds(
        lambda given, choice: {"tools": given, "tool_choice": choice},
        st.lists(st.sampled_from([FUNCTION, GRAMMAR, {"type": "web_search"}]), min_size=1, max_size=3),
        st.sampled_from(["auto", "required", {"type": "function", "name": "weather"}, ALLOWED]),
    ),
)


@given(inputs, settings, tools)
def test_a_request_that_is_read_is_written_as_it_was(given_input, options, more):
    body = {"model": "gpt-4o-mini", "input": given_input, "include": [], **options, **more}
    request = read_response(body, idempotency_id="x").request
    losses = Losses("openai")
    written = encode_response(request, losses, model="gpt-4o-mini", stream=False)
    assert losses.warnings == []
    assert written.pop("store") is False
    expected = {name: value for name, value in body.items() if name != "include"}
    assert written == expected
    assert request.native.body is body


@given(st.text(max_size=40), st.dictionaries(words, words, max_size=3))
def test_what_is_sealed_comes_back(noise, extra):
    sealed = seal({"thinking_blocks": [{"signature": noise}]}, [ToolCall(id="c", name="f", extra=extra or None)])
    found = unseal(sealed)
    assert found.message == {"thinking_blocks": [{"signature": noise}]}
    assert found.calls == ({"c": extra} if extra else {})
    assert unseal(sealed[:-5]) is None
    assert seal({"annotations": [1]}) is None
