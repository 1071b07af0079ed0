"""Over seeds and questions: an answer of Anthropic is the same message, whole and streamed, and goes back as it came."""

import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.core.building import TokensBuilder
from spillway.core.request import GenerateRequest
from spillway.providers.anthropic import AnthropicConfig
from spillway.providers.anthropic.runner import AnthropicWire
from spillway.providers.encoding import Losses
from spillway.remote.sse import SseDecoder
from spillway.sim.answers import compose
from spillway.sim.wire.anthropic import AnthropicDialect
from spillway.sim.wire.dialect import Route

DIALECT = AnthropicDialect()
ROUTE = Route(action="generate", variant="2026-10-21 ")
DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
    "citations": {"enabled": True},
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"é": {}, "n": kind}}},
    }
    for name, kind in (("weather", {"type": "number"}), ("time", {"type": "array"}))
]
SEARCH = {"type": "web_search_20260318", "name": "web_search"}


@st.composite
def requests(draw):
    words = [
        word
        for word in ("call weather", "call time", "search", "and pause", "in secret", "refuse midway")
        if draw(st.booleans())
    ]
    content = [{"type": "text", "text": f"{', '.join(words)} {draw(st.text(max_size=5))}!"}]
    if draw(st.booleans()):
        content.insert(0, DOCUMENT)
    thinking = draw(st.sampled_from([None, {"type": "adaptive"}, {"type": "adaptive", "display": "omitted"}]))
    return GenerateRequest(
        messages=[{"role": "user", "content": content}],
        tools=draw(st.sampled_from([None, TOOLS, [SEARCH], [*TOOLS, SEARCH]])),
        max_tokens=draw(st.sampled_from([3, 9, 4000])),
        extra=thinking and {"thinking": thinking},
    )


def read(wire, frames, cuts):
    """The answer in a stream whose bytes come in pieces."""
    stream, decoder, builder = wire.open_stream(), SseDecoder(), TokensBuilder()
    data, begin = b"".join(frames), 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        out = []
        stream.take(decoder.feed_data(data[begin:cut]), out)
        begin = cut
        for chunk in out:
            builder.add(chunk)
    assert stream.finished
    return builder.build()


@settings(max_examples=150, deadline=None)
@given(request=requests(), seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 2**20), max_size=6))
def test_whole_and_streamed_are_the_same_message_and_go_back_as_it_came(request, seed, cuts):
    wire = AnthropicWire(AnthropicConfig(), "claude-opus-5-5")
    ask = DIALECT.read(wire.encode(request, Losses("anthropic"), stream=True)[1], ROUTE)
    answer = compose(seed, ask)
    body, plan = DIALECT.unary(ask, answer), DIALECT.stream(ask, answer)
    whole = TokensBuilder()
    for chunk in wire.decode(body)[0]:
        whole.add(chunk)
    tokens = whole.build()
    streamed = read(wire, [*plan.head, *plan.body, *plan.tail], cuts)
    assert msgspec.json.encode(streamed) == msgspec.json.encode(tokens)
    assert json.dumps(streamed.message()) == json.dumps(tokens.message())

    came = [{key: value for key, value in block.items() if value is not None} for block in json.loads(body)["content"]]
    if not came:
        return
    losses = Losses("anthropic")
    turns = [*request.messages, tokens.message()]
    sent = json.loads(wire.encode(GenerateRequest(messages=turns), losses, stream=False)[1])["messages"][1]["content"]
    back = [{"type": "text", "text": sent}] if isinstance(sent, str) else sent
    assert back == came
    assert losses.warnings == []
