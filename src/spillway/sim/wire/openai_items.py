"""The items of a response, and the events that tell of them."""

from __future__ import annotations

import base64
from typing import Any

from spillway.sim.answers import Answer, Call
from spillway.sim.ask import Ask
from spillway.sim.wire.dialect import created, named_sse
from spillway.sim.wire.openai_responses_ask import SEALED
from spillway.sim.wire.openai_words import call_id, logprob

FIRST_THOUGHT = 4
"""Words of reasoning in the first part of a summary, and before the first of several calls."""

Item = dict[str, Any]


def items_of(ask: Ask, answer: Answer) -> list[Item]:
    """Return what an answer consists of: reasoning, a search where one is offered, then a message or calls.

    Before each of the first two calls of several stands reasoning of its own.
    """
    items: list[Item] = []
    calls = answer.calls
    thought = answer.thought
    if thought:
        items.append(_reasoning(ask, answer, 0, thought[:FIRST_THOUGHT] if len(calls) > 1 else thought))
    for at, call in enumerate(calls):
        if at == 1 and thought[FIRST_THOUGHT:]:
            items.append(_reasoning(ask, answer, 1, thought[FIRST_THOUGHT:]))
        items.append(_call(answer, call, at))
    if calls:
        return items
    if "search" in ask.wants:
        action = {"type": "search", "query": ask.last_user[:80]}
        items.append({"type": "web_search_call", "id": _id("ws", answer), "status": "completed", "action": action})
    items.append(_message(ask, answer))
    return items


def response_of(ask: Ask, answer: Answer, items: list[Item], *, status: str | None = None) -> dict[str, Any]:
    """Return a `response`; with a `status` one that has not ended, which has no usage yet."""
    cut = answer.finish == "length" and status is None
    return {
        "id": _id("resp", answer),
        "object": "response",
        "created_at": created(answer),
        "completed_at": created(answer) if status is None and not cut else None,
        "status": status or ("incomplete" if cut else "completed"),
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "max_output_tokens": ask.max_output,
        "metadata": {},
        "model": ask.model,
        "output": items,
        "parallel_tool_calls": ask.parallel,
        "previous_response_id": None,
        "service_tier": ask.tier,
        "store": "stored" in ask.wants,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if status else _usage(ask, answer),
    }


class Script:
    """The events of a stream, numbered; those that carry a token begin a new frame, the others go with the next."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self._number = 0
        self._waiting = b""

    def event(self, kind: str, **fields: Any) -> bytes:
        """Return the next event."""
        frame = named_sse(kind, {"type": kind, "sequence_number": self._number, **fields})
        self._number += 1
        return frame

    def rest(self) -> list[bytes]:
        """Return the events that no token followed."""
        waiting, self._waiting = self._waiting, b""
        return [waiting] if waiting else []

    def play(self, at: int, item: Item, answer: Answer) -> None:
        """Add the events of one item, the `at`-th."""
        empty = {name: _emptied(name, value) for name, value in item.items()}
        place = {"item_id": item["id"], "output_index": at}
        if item["type"] in {"function_call", "custom_tool_call"}:
            self._tell("response.output_item.added", token=True, output_index=at, item=empty)
            self._play_call(place, item, answer)
        else:
            self._tell("response.output_item.added", output_index=at, item=empty)
            if item["type"] == "reasoning":
                self._play_thought(place, item)
            elif item["type"] == "message":
                self._play_part(place, item["content"][0], answer.pieces)
            else:
                for stage in ("in_progress", "searching", "completed"):
                    self._tell(f"response.{item['type']}.{stage}", **place)
        self._tell("response.output_item.done", output_index=at, item=item)

    def _tell(self, kind: str, *, token: bool = False, **fields: Any) -> None:
        self._waiting += self.event(kind, **fields)
        if token:
            self.body += self.rest()

    def _play_call(self, place: dict[str, Any], item: Item, answer: Answer) -> None:
        call = next(c for i, c in enumerate(answer.calls) if call_id(answer, i) == item["call_id"])
        kind, name = ("custom_tool_call_input", "input") if call.custom else ("function_call_arguments", "arguments")
        for piece in call.pieces:
            self._tell(f"response.{kind}.delta", token=True, **place, delta=piece)
        self._tell(f"response.{kind}.done", **place, **{name: item[name]})

    def _play_thought(self, place: dict[str, Any], item: Item) -> None:
        for number, part in enumerate(item["summary"]):
            where = {**place, "summary_index": number}
            self._tell("response.reasoning_summary_part.added", **where, part={**part, "text": ""})
            for piece in _pieces(part["text"]):
                self._tell("response.reasoning_summary_text.delta", token=True, **where, delta=piece)
            self._tell("response.reasoning_summary_text.done", **where, text=part["text"])
            self._tell("response.reasoning_summary_part.done", **where, part=part)

    def _play_part(self, place: dict[str, Any], part: dict[str, Any], pieces: tuple[str, ...]) -> None:
        where = {**place, "content_index": 0}
        refused = part["type"] == "refusal"
        empty = {name: _emptied(name, value) for name, value in part.items()}
        self._tell("response.content_part.added", **where, part=empty)
        for at, piece in enumerate(pieces):
            if refused:
                self._tell("response.refusal.delta", token=True, **where, delta=piece)
                continue
            shown = [_without_bytes(each) for each in part["logprobs"][at : at + 1]]
            self._tell("response.output_text.delta", token=True, **where, delta=piece, logprobs=shown)
        if refused:
            self._tell("response.refusal.done", **where, refusal=part["refusal"])
        else:
            for number, note in enumerate(part["annotations"]):
                self._tell("response.output_text.annotation.added", **where, annotation_index=number, annotation=note)
            shown = [_without_bytes(each) for each in part["logprobs"]]
            self._tell("response.output_text.done", **where, text=part["text"], logprobs=shown)
        self._tell("response.content_part.done", **where, part=part)


def _reasoning(ask: Ask, answer: Answer, number: int, thought: tuple[str, ...]) -> Item:
    parts = [thought[:FIRST_THOUGHT], thought[FIRST_THOUGHT:]] if "summary" in ask.wants else []
    item: Item = {
        "type": "reasoning",
        "id": f"{_id('rs', answer)}{number}",
        "summary": [{"type": "summary_text", "text": "".join(part)} for part in parts if part],
    }
    if "sealed" in ask.wants:
        item["encrypted_content"] = SEALED + base64.b64encode(answer.digest + bytes([number])).decode()
    return item


def _call(answer: Answer, call: Call, at: int) -> Item:
    said = call.arguments.decode()
    return {
        "type": "custom_tool_call" if call.custom else "function_call",
        "id": f"{_id('ctc' if call.custom else 'fc', answer)}{at}",
        "call_id": call_id(answer, at),
        "name": call.name,
        "input" if call.custom else "arguments": said,
        "status": "completed",
    }


def _message(ask: Ask, answer: Answer) -> Item:
    item: Item = {
        "type": "message",
        "id": _id("msg", answer),
        "role": "assistant",
        "status": "incomplete" if answer.finish == "length" else "completed",
    }
    if ask.model.startswith("gpt-6"):
        item["phase"] = "final_answer"
    if answer.refused:
        item["content"] = [{"type": "refusal", "refusal": answer.text}]
        return item
    notes = []
    if "search" in ask.wants and answer.pieces:
        title, end = "A page", len(answer.pieces[0])
        notes = [
            {"type": "url_citation", "start_index": 0, "end_index": end, "url": "https://example.org/", "title": title}
        ]
    shown = [logprob(piece, ask.top_logprobs) for piece in answer.pieces] if "logprobs" in ask.wants else []
    item["content"] = [{"type": "output_text", "text": answer.text, "annotations": notes, "logprobs": shown}]
    return item


def _usage(ask: Ask, answer: Answer) -> dict[str, Any]:
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": ask.cached_tokens, "cache_write_tokens": ask.cache_write_tokens},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": len(answer.thought)},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }


def _id(prefix: str, answer: Answer) -> str:
    return f"{prefix}_{answer.digest.hex()}"


def _emptied(name: str, value: Any) -> Any:
    """Return a field as it is before anything was said."""
    if name in {"arguments", "input", "text", "refusal", "encrypted_content"}:
        return ""
    if name in {"content", "summary", "annotations", "logprobs"}:
        return []
    return "in_progress" if name == "status" else value


def _without_bytes(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a log probability as the events of single pieces have it."""
    kept = {key: value for key, value in shown.items() if key != "bytes"}
    if "top_logprobs" in kept:
        kept["top_logprobs"] = [_without_bytes(each) for each in kept["top_logprobs"]]
    return kept


def _pieces(text: str) -> list[str]:
    """Return the words of a summary, each with the blank before it."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])] if words[0] else [f" {word}" for word in words[1:]]
