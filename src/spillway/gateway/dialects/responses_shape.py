"""Answers written as OpenAI responses, whoever gave them.

Source: https://platform.openai.com/docs/api-reference/responses/object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spillway.core.chat_shape import tier_of
from spillway.core.clock import new_id
from spillway.core.reply import FinishReason, Tokens, ToolCall, Usage
from spillway.gateway.dialects.responses_sealed import seal

_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""Settings of the request that a response repeats, and what stands there when they were not given."""


class Frame:
    """What stays the same in every state of one response: its id, when it was made, what it was asked.

    Args:
        echo: the request's body.
        model: what the caller asked for.
        created: seconds since 1970.
    """

    def __init__(self, echo: Mapping[str, Any], *, model: str, created: int) -> None:
        self.response_id = f"resp_{new_id()}"
        reasoning = echo.get("reasoning")
        told = {name: default if (given := echo.get(name)) is None else given for name, default in _ECHOED.items()}
        self._head = {"id": self.response_id, "object": "response", "created_at": created, "model": model}
        self._told = {
            **told,
            "background": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None, **(reasoning if isinstance(reasoning, Mapping) else {})},
            "store": False,
        }

    def response(
        self,
        status: str,
        output: Sequence[Any] = (),
        *,
        usage: Usage | None = None,
        about: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """Return the response in one of its states.

        Args:
            reason: why it is `incomplete`.
        """
        tier = tier_of(about or {})
        return {
            **self._head,
            "status": status,
            "error": error,
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": list(output),
            "usage": None if usage is None else usage_shape(usage),
            **self._told,
            **({} if tier is None else {"service_tier": tier}),
        }


def response(tokens: Tokens, frame: Frame) -> dict[str, Any]:
    """Return a whole answer as a `response`."""
    status, reason = status_of(tokens.finish_reason, refused=bool(tokens.refusal))
    return frame.response(status, items_of(tokens, status), usage=tokens.usage, about=tokens.about, reason=reason)


def status_of(finish: FinishReason | None, *, refused: bool) -> tuple[str, str | None]:
    """Return the status of an answer that ended, and why it is incomplete where it is."""
    if finish is FinishReason.LENGTH:
        return "incomplete", "max_output_tokens"
    if finish is FinishReason.CONTENT_FILTER and not refused:
        return "incomplete", "content_filter"
    return "completed", None


def items_of(tokens: Tokens, status: str) -> list[dict[str, Any]]:
    """Return the items of an answer: reasoning, what a provider did on the way, the message, calls."""
    extra = tokens.extra or {}
    kept = list(extra.get("reasoning_items") or ())
    sealed = seal(extra, tokens.tool_calls)
    items: list[dict[str, Any]] = []
    if sealed is not None or (tokens.reasoning and not kept):
        items.append(reasoning_item(f"rs_{new_id()}", "" if kept else tokens.reasoning, sealed))
    items += [*kept, *(extra.get("output_items") or ())]
    parts = parts_of(tokens)
    if parts or not (items or tokens.tool_calls):
        items.append(message_item(f"msg_{new_id()}", parts or [text_part("")], status, extra.get("phase")))
    items += image_items(extra)
    items += [call_item(call, item_id_of(custom=call.custom), status) for call in tokens.tool_calls]
    return items


def parts_of(tokens: Tokens) -> list[dict[str, Any]]:
    """Return what an answer's message says: its text and its refusal."""
    parts = []
    if tokens.text:
        logprobs = (tokens.logprobs or {}).get("content") or ()
        notes = (tokens.extra or {}).get("annotations") or ()
        parts.append(text_part(tokens.text, logprobs=logprobs, annotations=annotations_of(notes)))
    if tokens.refusal:
        parts.append({"type": "refusal", "refusal": tokens.refusal})
    return parts


def text_part(text: str, *, logprobs: Sequence[Any] = (), annotations: Sequence[Any] = ()) -> dict[str, Any]:
    """Return a part of text."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": list(logprobs)}


def annotations_of(notes: Sequence[Any]) -> list[Any]:
    """Return a message's annotations, flat as they are here; those that this API has no name for are left out."""
    flat: list[Any] = []
    for note in notes:
        if not isinstance(note, Mapping):
            continue
        inner = note.get("url_citation")
        if isinstance(inner, Mapping):
            page = {"title": "", "url": "", "start_index": 0, "end_index": 0, **inner}
            flat.append({"type": "url_citation", **{name: value for name, value in page.items() if value is not None}})
        elif note.get("type") in {"file_citation", "container_file_citation", "file_path"}:
            flat.append(note)
    return flat


def image_items(extra: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the pictures of an answer, which go back sealed and are shown here."""
    items = []
    for image in extra.get("images") or ():
        place = image.get("image_url") if isinstance(image, Mapping) else None
        url = place.get("url") if isinstance(place, Mapping) else None
        head, comma, data = url.partition(";base64,") if isinstance(url, str) else ("", "", "")
        if comma and head.startswith("data:image/"):
            about = {"id": f"ig_{new_id()}", "status": "completed", "result": data}
            items.append({"type": "image_generation_call", **about})
    return items


def message_item(item_id: str, parts: Sequence[Any], status: str, phase: Any = None) -> dict[str, Any]:
    """Return a message."""
    item = {"type": "message", "id": item_id, "role": "assistant", "status": status, "content": list(parts)}
    return item if phase is None else {**item, "phase": phase}


def reasoning_item(item_id: str, text: str, sealed: str | None) -> dict[str, Any]:
    """Return reasoning, told as a summary."""
    summary = [{"type": "summary_text", "text": text}] if text else []
    item: dict[str, Any] = {"type": "reasoning", "id": item_id, "summary": summary}
    return item if sealed is None else {**item, "encrypted_content": sealed}


def item_id_of(*, custom: bool) -> str:
    """Return an id for a call's item, which is another than the call's own."""
    return f"{'ctc' if custom else 'fc'}_{new_id()}"


def call_item(call: ToolCall, item_id: str, status: str) -> dict[str, Any]:
    """Return a call of one of the caller's tools."""
    item = {"id": item_id, "call_id": call.id, "name": call.name, "status": status}
    if call.custom:
        return {"type": "custom_tool_call", **item, "input": call.arguments}
    return {"type": "function_call", **item, "arguments": call.arguments}


def usage_shape(usage: Usage) -> dict[str, Any]:
    """Return token counts in this API's names."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
