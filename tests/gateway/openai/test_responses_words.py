"""What the door of responses makes of rarer items, parts and fields, without a provider."""

from openai_doors import ask, before_simulator

from spillway.core.reply import TokenChunk, Tokens, ToolCall
from spillway.gateway.dialects.responses_request import read_response
from spillway.gateway.dialects.responses_sealed import unseal
from spillway.gateway.dialects.responses_shape import Frame, annotations_of, items_of, response
from spillway.gateway.dialects.responses_stream import ResponseEvents


def read(given, **more):
    return read_response({"model": "m", "input": given, **more}, idempotency_id="x").request


def frame():
    return Frame({"input": "x"}, model="m", created=1)


def test_empty_instructions_are_none():
    assert read("hi", instructions="").messages == [{"role": "user", "content": "hi"}]


def test_an_item_that_a_chat_has_no_words_for_is_a_part_that_only_its_provider_knows():
    item = {"type": "computer_call_output", "call_id": "c", "output": {}}
    part = {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}
    messages = read([item, {"role": "user", "content": [part]}]).messages
    assert messages == [{"role": "user", "content": [item]}, {"role": "user", "content": [part]}]


def test_a_refusal_goes_back_as_one_and_reasoning_that_nobody_can_read_again_does_not():
    refused = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
    lone = {"type": "reasoning", "id": "rs_1", "summary": []}
    hello = {"role": "user", "content": "hi"}
    assert read([hello, refused]).messages[1:] == [{"role": "assistant", "content": "", "refusal": "no"}]
    assert read([hello, lone]).messages == [{"role": "user", "content": "hi"}]


def test_items_of_the_providers_own_tools_go_back_with_the_answer():
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    said = {"role": "assistant", "content": "x"}
    (message,) = read([search, said]).messages
    assert message == {"role": "assistant", "content": "x", "output_items": [search]}


def test_a_choice_that_is_no_function_is_passed_on():
    request = read("hi", tools=[{"type": "web_search"}], tool_choice={"type": "web_search"})
    assert request.tools == [{"type": "web_search"}]
    assert request.tool_choice == {"type": "web_search"}


def test_citations_go_back_only_with_the_order_that_counts_on_them():
    extra = {"block_order": [1, "server"], "server_blocks": [{"type": "x"}], "annotations": [{"type": "citation"}]}
    sealed = items_of(Tokens(text="a", extra=extra), "completed")[0]
    assert unseal(sealed["encrypted_content"]).message == extra
    said = [{"role": "user", "content": "hi"}, sealed, {"role": "assistant", "content": "a"}]
    assert read(said).messages[1] == {"role": "assistant", "content": "a", **extra}


def test_extras_of_calls_go_back_to_their_calls():
    signed = ToolCall(id="c1", name="f", arguments="{}", extra={"extra_content": {"google": {"s": "x"}}})
    items = items_of(Tokens(tool_calls=(signed, ToolCall(id="c2", name="f"))), "completed")
    (message,) = read(items).messages
    assert [call.get("extra_content") for call in message["tool_calls"]] == [{"google": {"s": "x"}}, None]


def test_only_annotations_that_the_api_names_are_told():
    file = {"type": "file_citation", "file_id": "f", "filename": "a", "index": 0}
    page = {"type": "url_citation", "url_citation": {"url": "u", "title": None}}
    told = annotations_of([file, page, {"type": "citation"}, 1])
    assert told == [file, {"type": "url_citation", "url": "u", "start_index": 0, "end_index": 0}]


def test_a_picture_by_its_address_is_not_one_that_was_made():
    extra = {"images": [{"image_url": {"url": "https://x.test/a.png"}}, {"image_url": 1}, 2]}
    kinds = [item["type"] for item in response(Tokens(text="a", extra=extra), frame())["output"]]
    assert kinds == ["reasoning", "message"]


def test_other_answers_and_notes_on_no_text_are_left_out_and_items_of_the_api_are_kept():
    search = {"type": "web_search_call", "id": "ws_1"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    events = ResponseEvents(frame())
    early = events.take(
        [
            TokenChunk(text_delta="other", choice=1),
            TokenChunk(extra={"annotations": [{"type": "file_path", "file_id": "f", "index": 0}]}),
            TokenChunk(extra={"output_items": [search], "reasoning_items": [thought]}),
        ]
    )
    assert b"other" not in early
    assert b"annotation.added" not in early
    assert b'"ws_1"' in (end := events.end())
    assert b'"rs_1"' in end


async def test_a_model_that_is_not_there_is_not_told_of():
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/models/nobody", method="GET")
    assert (answer.status, answer.json["error"]["code"]) == (404, "model_not_found")
