"""What a message holds beside text on its way to Anthropic: images, documents, native blocks, and answers that go back."""

from __future__ import annotations

from base64 import b64encode

import pytest
from anthropic_wires import CALL, USER, body, leniently, said, whole
from test_anthropic_answers import CITED, FOUND, HIDDEN, MESSAGES, SEARCH, THOUGHT, message, text

from spillway.providers.encoding import Losses
from spillway.providers.turns import read_turns

PNG = "iVBORw0KGgo="
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}


def image(source):
    return {"type": "image", "source": source}


def parts(*given):
    """The blocks that parts of a user's message become."""
    return body(said("user", list(given)))["messages"][0]["content"]


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ({"url": f"data:image/png;base64,{PNG}"}, {"type": "base64", "media_type": "image/png", "data": PNG}),
        (f"data:image/jpg;base64,{PNG}", {"type": "base64", "media_type": "image/jpeg", "data": PNG}),
        ({"url": "https://x/y.png", "detail": "auto"}, {"type": "url", "url": "https://x/y.png"}),
        ({"file_id": "file_1"}, {"type": "file", "file_id": "file_1"}),
    ],
)
def test_images(url, source):
    assert parts({"type": "image_url", "image_url": url}) == [image(source)]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ({"file_data": "data:application/pdf;base64,JVBERg=="}, {"source": PDF}),
        ({"file_data": "JVBERg==", "filename": "a.pdf"}, {"source": PDF, "title": "a.pdf"}),
        (
            {"file_data": "data:text/markdown;base64," + b64encode("héé".encode()).decode()},
            {"source": {"type": "text", "media_type": "text/plain", "data": "héé"}},
        ),
        ({"file_url": "https://x/a.pdf"}, {"source": {"type": "url", "url": "https://x/a.pdf"}}),
        ({"file_id": "https://x/a.pdf"}, {"source": {"type": "url", "url": "https://x/a.pdf"}}),
        (
            {
                "file_id": "file_1",
                "filename": "a.pdf",
                "title": "T",
                "context": "C",
                "citations": {"enabled": True},
            },
            {
                "source": {"type": "file", "file_id": "file_1"},
                "title": "T",
                "context": "C",
                "citations": {"enabled": True},
            },
        ),
    ],
)
def test_documents(file, expected):
    assert parts({"type": "file", "file": file}) == [{"type": "document", **expected}]


def test_a_file_that_is_an_image_is_one():
    assert parts({"type": "file", "file": {"file_id": "file_1", "format": "image/png"}}) == [
        image({"type": "file", "file_id": "file_1"})
    ]
    data = {"file_data": f"data:image/png;base64,{PNG}"}
    assert parts({"type": "file", "file": data})[0]["source"]["media_type"] == "image/png"


def test_native_blocks_pass_as_they_are():
    native = [
        image({"type": "file", "file_id": "f"}),
        {"type": "document", "source": {"type": "content", "content": "x"}, "citations": {"enabled": True}},
        {"type": "search_result", "source": "https://a", "title": "t", "content": []},
        {"type": "container_upload", "file_id": "f"},
        {"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"},
    ]
    assert parts(*native) == native
    spoken = [THOUGHT, HIDDEN, text("so", citations=[CITED]), SEARCH, FOUND, {"type": "mcp_tool_use", "id": "m"}]
    assert body(*USER, said("assistant", spoken))["messages"][1]["content"] == spoken


def test_results_hold_texts_images_and_documents():
    content = [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://x"}},
        {"type": "file", "file": {"file_id": "file_1"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
        {"type": "tool_reference", "tool_name": "g"},
    ]
    sent = body(*USER, said("assistant", None, tool_calls=[CALL]), said("tool", content, tool_call_id="toolu_1"))
    (result,) = sent["messages"][2]["content"]
    assert [part["type"] for part in result["content"]] == [
        "text",
        "image",
        "document",
        "search_result",
        "tool_reference",
    ]
    bare = body(*USER, said("assistant", None, tool_calls=[CALL]), said("tool", "", tool_call_id="toolu_1"))
    assert bare["messages"][2]["content"] == [{"type": "tool_result", "tool_use_id": "toolu_1"}]


@pytest.mark.parametrize("name", [name for name, answer in MESSAGES.items() if answer["content"]])
def test_an_answer_goes_back_as_it_came(name):
    answer = MESSAGES[name]
    losses = Losses("anthropic")
    sent = body(*USER, whole(answer).message(), losses=losses)["messages"][1]["content"]
    came = [{key: value for key, value in block.items() if value is not None} for block in answer["content"]]
    assert sent == (came[0]["text"] if came == [{"type": "text", "text": came[0].get("text")}] else came)
    assert losses.warnings == []


def test_thinking_comes_before_text_and_calls_also_when_turns_are_merged():
    sent = body(
        *USER,
        said("assistant", "a", thinking_blocks=[THOUGHT]),
        said("assistant", "b", thinking_blocks=[HIDDEN, THOUGHT], tool_calls=[CALL]),
    )
    kinds = [block["type"] for block in sent["messages"][1]["content"]]
    assert kinds == ["thinking", "text", "redacted_thinking", "thinking", "text", "tool_use"]


def test_an_answer_that_was_changed_goes_back_in_the_usual_order():
    back = whole(MESSAGES["searched"]).message()
    for change in (
        {"content": "shorter"},
        {"server_blocks": []},
        {"thinking_blocks": []},
        {"block_order": ["something_new"]},
        {"block_order": 5},
    ):
        sent, warnings = leniently(*USER, back | change)
        kinds = [block["type"] for block in sent["messages"][1]["content"]]
        assert kinds == sorted(kinds, key=["thinking", "server_tool_use", "web_search_tool_result", "text"].index)
        assert [warning.partition(":")[0].partition(".")[2] for warning in warnings][-2:] == [
            "block_order",
            "annotations",
        ]


def test_what_others_said_of_their_answers_is_noted():
    foreign = said("assistant", "x", reasoning_content="r", extra_content={"google": {}}, annotations=[{"type": "a"}])
    sent, warnings = leniently(*USER, foreign)
    assert sent["messages"][1]["content"] == "x"
    assert [warning.partition(":")[0] for warning in warnings] == [
        "messages[1].reasoning_content",
        "messages[1].extra_content",
        "messages[1].annotations",
    ]


def test_a_runtime_that_can_not_carry_them_says_so():
    back = whole(MESSAGES["searched"]).message()
    losses = Losses("other", lenient=True)
    read_turns([*USER, back | {"cache_control": {"type": "ephemeral"}}], losses)
    told = [warning.partition(":")[0] for warning in losses.warnings]
    assert told == ["messages[1].annotations", "messages[1].server_blocks", "messages[1].cache_control"]


def test_a_pause_is_sent_back_with_what_was_begun():
    paused = whole(message(text("I look. "), SEARCH, stop="pause_turn"))
    assert paused.about["native_finish_reason"] == "pause_turn"
    sent = body(*USER, paused.message())
    assert sent["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "I look. "}, SEARCH]}


def test_a_message_of_calls_alone_needs_no_content():
    """Its calls were dropped without a word when `content` was absent, not null."""
    sent = body(*USER, {"role": "assistant", "tool_calls": [CALL]}, said("tool", "42", tool_call_id="toolu_1"))
    assert [message["content"][0]["type"] for message in sent["messages"][1:]] == ["tool_use", "tool_result"]
