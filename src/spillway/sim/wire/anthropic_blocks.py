"""The content blocks of Anthropic's answers, each whole and as the events of a stream.

Thinking comes first, then a search, then text or calls. Text that has something to cite is in two blocks, of which the
second cites all of it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from spillway.sim.answers import Answer, Call
from spillway.sim.wire.anthropic_ask import AnthropicAsk
from spillway.sim.wire.anthropic_content import FOUND, REDACTED
from spillway.sim.wire.anthropic_seals import seal

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence", "tool": "tool_use"}

SHOWN = 40
"""Characters of a source that a citation quotes."""

PAGE = {"url": "https://example.com/simulated", "title": "A simulated page"}


class Part(msgspec.Struct):
    """One block: whole, as it begins in a stream, the deltas that are output, and those that close it."""

    whole: dict[str, Any]
    begin: dict[str, Any]
    deltas: list[dict[str, Any]] = []
    closing: list[dict[str, Any]] = []


def parts_of(ask: AnthropicAsk, answer: Answer) -> list[Part]:
    """Return the blocks of an answer."""
    parts = list(_thoughts(ask, answer))
    paused = ends_as(ask, answer) == "pause_turn"
    if ask.searches and not (paused or ask.resumes):
        parts.append(_search(answer))
    if ask.searches and not paused:
        parts.append(_finds(answer))
    if answer.call is not None:
        parts += [_call(call, f"toolu_{answer.digest.hex()[:22]}{at:02x}") for at, call in enumerate(answer.calls)]
    else:
        cited = [] if paused or answer.finish == "length" else list(_citations(ask, answer))
        parts += _texts(answer.pieces, cited)
    if paused:
        parts.append(_search(answer))
    return parts


def ends_as(ask: AnthropicAsk, answer: Answer) -> str:
    """Return the stop reason of an answer."""
    if ask.stops_as and answer.call is None:
        return ask.stops_as
    return _STOP_REASONS[answer.finish]


def _thoughts(ask: AnthropicAsk, answer: Answer) -> Iterator[Part]:
    if not answer.thought:
        return
    shown = answer.thought[: len(answer.thought) // 2] if ask.secret else answer.thought
    if ask.omitted:
        shown = ()
    text = "".join(shown)
    sealed = seal(answer.digest, text)
    yield Part(
        {"type": "thinking", "thinking": text, "signature": sealed},
        {"type": "thinking", "thinking": "", "signature": ""},
        [{"type": "thinking_delta", "thinking": piece} for piece in shown],
        [{"type": "signature_delta", "signature": sealed}],
    )
    if ask.secret:
        yield _as_it_is({"type": "redacted_thinking", "data": seal(answer.digest, REDACTED)})


def _as_it_is(block: dict[str, Any]) -> Part:
    return Part(block, block)


def _search(answer: Answer) -> Part:
    arguments = {"query": answer.digest.hex()[:8]}
    block = {"type": "server_tool_use", "id": _search_id(answer), "name": "web_search"}
    written = msgspec.json.encode(arguments).decode()
    fragments = [written[:5], written[5:]]
    return Part(
        {**block, "input": arguments},
        {**block, "input": {}},
        closing=[{"type": "input_json_delta", "partial_json": piece} for piece in ("", *fragments)],
    )


def _finds(answer: Answer) -> Part:
    find = {"type": "web_search_result", **PAGE, "page_age": None, "encrypted_content": seal(answer.digest, FOUND)}
    return _as_it_is({"type": "web_search_tool_result", "tool_use_id": _search_id(answer), "content": [find]})


def _search_id(answer: Answer) -> str:
    return f"srvtoolu_{answer.digest.hex()[:24]}"


def _call(call: Call, call_id: str) -> Part:
    block = {"type": "tool_use", "id": call_id, "name": call.name}
    return Part(
        {**block, "input": msgspec.Raw(call.arguments)},
        {**block, "input": {}},
        [{"type": "input_json_delta", "partial_json": piece} for piece in call.pieces],
    )


def _texts(pieces: Sequence[str], cited: list[dict[str, Any]]) -> Iterator[Part]:
    middle = len(pieces) // 2 if cited else 0
    for some, citations in ((pieces[:middle], []), (pieces[middle:], cited)):
        if some:
            yield Part(
                {"type": "text", "text": "".join(some), "citations": citations or None},
                {"type": "text", "text": "", "citations": [] if citations else None},
                [{"type": "text_delta", "text": piece} for piece in some],
                [{"type": "citations_delta", "citation": citation} for citation in citations],
            )


def _citations(ask: AnthropicAsk, answer: Answer) -> Iterator[dict[str, Any]]:
    documents, results = 0, 0
    for source in ask.citable:
        if source["type"] == "search_result":
            yield {"type": "search_result_location", **_of_result(source), "search_result_index": results}
            results += 1
        else:
            yield {**_of_document(source), "document_index": documents, "document_title": source.get("title")}
            documents += 1
    if ask.searches:
        index = base64.b64encode(answer.digest).decode()
        yield {"type": "web_search_result_location", **PAGE, "encrypted_index": index, "cited_text": "simulated"}


def _of_result(source: Mapping[str, Any]) -> dict[str, Any]:
    content = source.get("content")
    first = content[0].get("text", "") if isinstance(content, list) and content else ""
    about = {"source": source.get("source"), "title": source.get("title")}
    return {**about, "cited_text": first, "start_block_index": 0, "end_block_index": 1}


def _of_document(document: Mapping[str, Any]) -> dict[str, Any]:
    source = document["source"]
    if source["type"] == "text":
        quoted = str(source.get("data", ""))[:SHOWN]
        return {"type": "char_location", "cited_text": quoted, "start_char_index": 0, "end_char_index": len(quoted)}
    if source["type"] == "content":
        content = source.get("content")
        first = content if isinstance(content, str) else str(content[0].get("text", "")) if content else ""
        return {
            "type": "content_block_location",
            "cited_text": first,
            "start_block_index": 0,
            "end_block_index": 1,
        }
    return {"type": "page_location", "cited_text": "simulated", "start_page_number": 1, "end_page_number": 2}
