"""However an answer is split into chunks and reads, the events of Anthropic's door add up to the same message."""

import json
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from spillway.core.building import TokensBuilder
from spillway.core.reply import FinishReason, TokenChunk, ToolCallDelta, Usage
from spillway.gateway.dialects.anthropic_answer import message_of
from spillway.gateway.dialects.anthropic_events import MessageEvents

sys.path.append(str(Path(__file__).parents[1] / "gateway" / "messages"))

from anthropic_bodies import added_up  # noqa: E402 # it stands beside the door's own tests

TEXTS = st.text(min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(TEXTS, JSON, max_size=3).map(json.dumps)
SIGNED = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "real"}, TEXTS)


def pieces(draw, text):
    """The text in pieces, at places that are drawn."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]


def call(index, arguments="", name="", call_id=""):
    return TokenChunk(tool_call_delta=ToolCallDelta(index=index, id=call_id, name=name, arguments=arguments))


@st.composite
def answers(draw):
    """The chunks of an answer in the usual order; the fragments of its calls come mixed."""
    thinking, text = draw(st.text(max_size=12)), draw(st.text(max_size=12))
    chunks = [TokenChunk(reasoning_delta=piece) for piece in pieces(draw, thinking)]
    if thinking and draw(st.booleans()):
        block = {"type": "thinking", "thinking": thinking, "signature": "real"}
        chunks.append(TokenChunk(extra={"thinking_blocks": [block]}))
    chunks += [TokenChunk(text_delta=piece) for piece in pieces(draw, text)]
    queues = []
    for index, arguments in enumerate(draw(st.lists(ARGUMENTS | st.just(""), max_size=3))):
        begin = call(index, name=f"f{index}", call_id=f"t{index}")
        queues.append([begin, *(call(index, piece) for piece in pieces(draw, arguments))])
    begun = 0
    while any(queues):
        ready = [at for at, queue in enumerate(queues) if queue and at <= begun]
        at = draw(st.sampled_from(ready))
        chunks.append(queues[at].pop(0))
        begun = max(begun, at + 1)
    finish = draw(st.sampled_from(FinishReason))
    usage = Usage(input_tokens=draw(st.integers(0, 99)), output_tokens=draw(st.integers(0, 99)))
    return [*chunks, TokenChunk(finish_reason=finish), TokenChunk(usage=usage)]


def streamed(reads):
    events = MessageEvents(model="m", message_id="msg_1")
    return added_up(b"".join(map(events.take, reads)) + events.end())


@given(chunks=answers(), data=st.data())
def test_a_streamed_message_is_the_whole_one(chunks, data):
    built = TokensBuilder()
    for chunk in chunks:
        built.add(chunk)
    whole = json.loads(json.dumps(message_of(built.build(), model="m", message_id="msg_1")))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(chunks)), max_size=5)))
    reads = [chunks[a:b] for a, b in zip([0, *cuts], [*cuts, len(chunks)], strict=True)]
    assert streamed(reads) == whole
    assert streamed([[chunk] for chunk in chunks]) == whole


ANY = st.one_of(
    TEXTS.map(lambda text: TokenChunk(text_delta=text)),
    TEXTS.map(lambda text: TokenChunk(reasoning_delta=text)),
    TEXTS.map(lambda text: TokenChunk(refusal_delta=text)),
    SIGNED.map(lambda block: TokenChunk(extra={"thinking_blocks": [block]})),
    st.builds(call, st.integers(0, 2), TEXTS, st.just("f"), st.sampled_from(["", "t"])),
)


@given(chunks=st.lists(ANY, max_size=12))
def test_any_chunks_make_blocks_that_are_whole_and_lose_no_text(chunks):
    events = MessageEvents(model="m", message_id="msg_1")
    data = events.take(chunks) + events.end()
    told = [json.loads(frame.partition(b"data: ")[2]) for frame in data.split(b"\n\n")[:-1]]
    open_at = None
    for event in told[1:-2]:
        if event["type"] == "content_block_start":
            assert open_at is None
            open_at = event["index"]
        else:
            assert event["index"] == open_at
            open_at = None if event["type"] == "content_block_stop" else open_at
    assert open_at is None
    texts = "".join(event["delta"].get("text", "") for event in told if event["type"] == "content_block_delta")
    assert sorted(texts) == sorted("".join(chunk.text_delta + chunk.refusal_delta for chunk in chunks))
    given_to_calls = "".join(chunk.tool_call_delta.arguments for chunk in chunks if chunk.tool_call_delta)
    written = "".join(
        event["delta"].get("partial_json", "") for event in told if event["type"] == "content_block_delta"
    )
    assert sorted(written) == sorted(given_to_calls)
