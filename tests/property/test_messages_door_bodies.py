"""Bodies of Anthropic's door: what is read from one comes back as it was, and nothing makes it fail but by name."""

import sys
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import spillway
from spillway.gateway.dialects.anthropic_ask import read_message
from spillway.providers.encoding import Losses
from spillway.providers.foreign import in_chat_words
from spillway.providers.gemini.runner import GeminiWire
from spillway.providers.litellm.runner import LiteLlmWire
from spillway.providers.openai.runner import OpenAiWire
from spillway.remote.cost import input_bound

sys.path.append(str(Path(__file__).parents[1] / "gateway" / "messages"))

from anthropic_bodies import PNG, again  # noqa: E402 # it stands beside the door's own tests

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
IDS = st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True)
MARK = {"type": "ephemeral"}
OBJECTS = st.dictionaries(WORDS, st.none() | st.integers(-9, 9) | WORDS | st.lists(WORDS, max_size=2), max_size=3)


def marked(block):
    """A block with or without a cache mark."""
    return st.sampled_from([block, {**block, "cache_control": MARK}])


TEXT = WORDS.map(lambda text: {"type": "text", "text": text})
IMAGE = st.sampled_from(
    [
        {"type": "base64", "media_type": "image/png", "data": PNG},
        {"type": "url", "url": "https://x/i.png"},
        {"type": "file", "file_id": "file_1"},
    ]
).map(lambda source: {"type": "image", "source": source})
DOCUMENT = st.builds(
    lambda source, more: {"type": "document", "source": source, **more},
    st.one_of(
        st.just({"type": "base64", "media_type": "application/pdf", "data": "AAAA"}),
        WORDS.map(lambda text: {"type": "text", "media_type": "text/plain", "data": text}),
        st.just({"type": "url", "url": "https://x/a.pdf"}),
        st.just({"type": "file", "file_id": "file_2"}),
    ),
    st.fixed_dictionaries({}, optional={"title": WORDS, "context": WORDS, "citations": st.just({"enabled": True})}),
)
SAID = (TEXT | IMAGE | DOCUMENT).flatmap(marked)
RESULT = st.builds(
    lambda call_id, content, more: {"type": "tool_result", "tool_use_id": call_id, **content, **more},
    IDS,
    st.one_of(
        st.just({}),
        WORDS.map(lambda text: {"content": text}),
        st.lists(IMAGE | DOCUMENT, min_size=1, max_size=2).map(lambda blocks: {"content": blocks}),
    ),
    st.fixed_dictionaries({}, optional={"is_error": st.just(True)}),
).flatmap(marked)
THOUGHT = st.one_of(
    WORDS.map(lambda text: {"type": "thinking", "thinking": text, "signature": "real"}),
    st.just({"type": "redacted_thinking", "data": "xx"}),
)
CALL = st.builds(
    lambda call_id, given_: {"type": "tool_use", "id": call_id, "name": "f", "input": given_}, IDS, OBJECTS
).flatmap(marked)
SERVER = st.sampled_from(
    [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
    ]
)
USER = st.builds(
    lambda results, rest: {"role": "user", "content": [*results, *rest]},
    st.lists(RESULT, max_size=2),
    st.lists(SAID, min_size=1, max_size=3),
)
ASSISTANT = st.lists(THOUGHT | TEXT.flatmap(marked) | CALL | SERVER, min_size=1, max_size=5).map(
    lambda blocks: {"role": "assistant", "content": blocks}
)
TOOLS = st.lists(
    st.builds(
        lambda name, more: {"name": name, "input_schema": {"type": "object", "properties": {}}, **more},
        IDS,
        st.fixed_dictionaries(
            {}, optional={"description": WORDS, "strict": st.just(True), "cache_control": st.just(MARK)}
        ),
    )
    | st.just({"type": "bash_20250124", "name": "bash"}),
    min_size=1,
    max_size=3,
)
CHOICES = st.sampled_from(
    [
        {"type": "auto"},
        {"type": "any", "disable_parallel_tool_use": True},
        {"type": "tool", "name": "f"},
        {"type": "none"},
        {"type": "auto", "disable_parallel_tool_use": True},
    ]
)
BODIES = st.builds(
    lambda turns, tools, more: {
        "model": "claude-haiku-4-5",
        "max_tokens": 99,
        "messages": [message for turn in turns for message in turn],
        **tools,
        **more,
    },
    st.lists(st.tuples(USER, ASSISTANT), min_size=1, max_size=3),
    st.just({})
    | st.builds(lambda tools, choice: {"tools": tools, **choice}, TOOLS, CHOICES.map(lambda c: {"tool_choice": c})),
    st.fixed_dictionaries(
        {},
        optional={
            "system": WORDS | st.just([{"type": "text", "text": "rules", "cache_control": MARK}]),
            "thinking": st.sampled_from([{"type": "disabled"}, {"type": "between_tools"}]),
            "metadata": st.just({"user_id": "u"}),
            "service_tier": st.just("auto"),
            "context_management": OBJECTS,
            "stop_sequences": st.lists(IDS, min_size=1, max_size=2),
            "output_config": st.just(
                {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}
            ),
            "stream": st.just(True),
            "temperature": st.just(0.5),
            "top_k": st.integers(1, 9),
        },
    ),
)


def plain(body):
    """The body in the words that say the same: one text is no list, and a result of one text is that text."""
    return {
        **body,
        "messages": [{**message, "content": _only_text(message["content"])} for message in body["messages"]],
    }


def _only_text(content):
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        return content[0]["text"]
    return content


@given(body=BODIES)
def test_what_is_read_comes_back_as_it_was(body):
    assert again(read_message(body, {}, idempotency_id="one")) == plain(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "text", "tool_use", "thinking", "image"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "role",
                    "content",
                    "id",
                    "name",
                    "input",
                    "source",
                    "data",
                    "tool_use_id",
                    "cache_control",
                ]
                + ["title", "citations", "signature", "budget_tokens", "effort", "format", "schema", "url", "user_id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = ("messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata", "stop_sequences")
MORE = ("max_tokens", "model", "service_tier", "context_management", "stream", "output_format")
BLOCKS = st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "thinking", "search_result"])
LIKELY = st.lists(
    st.builds(
        lambda role, blocks: {"role": role, "content": blocks},
        st.sampled_from(["user", "assistant", "system", "other"]),
        st.lists(
            st.builds(
                lambda kind, more: {**more, "type": kind},
                BLOCKS,
                st.dictionaries(WORDS, JSON, max_size=2) | JSON.filter(lambda v: isinstance(v, dict)),
            ),
            max_size=3,
        )
        | JSON,
    ),
    min_size=1,
    max_size=3,
)
WIRES = (
    OpenAiWire(spillway.OpenAiConfig(), "gpt-5"),
    OpenAiWire(spillway.OpenAiConfig(api="responses"), "gpt-5"),
    GeminiWire(spillway.GeminiConfig(), "gemini-3-pro"),
    LiteLlmWire(spillway.LiteLlmConfig(), "claude-opus-5-5"),
)


@given(
    body=st.dictionaries(st.sampled_from([*FIELDS, *MORE]), JSON, max_size=5),
    messages=LIKELY,
    lenient=st.booleans(),
)
def test_nothing_makes_it_fail_but_by_name(body, messages, lenient):
    body.setdefault("messages", messages)
    try:
        request = read_message(body, {}, idempotency_id="one").request
    except spillway.BadRequest:
        return
    assert input_bound(request) > 0
    for wire in WIRES:
        losses = Losses(wire.kind, lenient=lenient)
        try:
            _, sent = wire.encode(in_chat_words(request, losses, wire.takes), losses, stream=False)
        except spillway.BadRequest:
            continue
        msgspec.json.decode(sent)
