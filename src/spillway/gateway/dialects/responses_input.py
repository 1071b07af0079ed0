"""The input of a response as chat-shaped messages; the way back of `providers/openai/responses/conversation.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spillway.core.building import merged
from spillway.core.errors import BadRequest
from spillway.core.request import Message
from spillway.gateway.dialects.responses_sealed import is_sealed, unseal
from spillway.providers.openai.responses.items import CALLS, extra_of_call, kept_of, parts_of, text_of

_OUTPUTS = frozenset({"function_call_output", "custom_tool_call_output"})
_ROLES = frozenset({"user", "system", "developer", "assistant"})


def messages_of(given: Any, instructions: Any) -> list[Message]:
    """Return the messages that `input` and `instructions` say.

    What one side says in a row is one message: an answer's reasoning, text and calls stand together as they were given.

    Raises:
        BadRequest: an item is malformed, or refers to what is kept at OpenAI only; it names the place.
    """
    messages: list[Message] = []
    if instructions is not None:
        if not isinstance(instructions, str):
            raise BadRequest("instructions must be text", param="instructions")
        if instructions:
            messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
        return messages
    if not isinstance(given, Sequence) or not given:
        raise BadRequest("input must be text or a list of items, and not empty", param="input")
    said: list[Mapping[str, Any]] = []
    for at, item in enumerate(given):
        where = f"input[{at}]"
        if not isinstance(item, Mapping):
            raise BadRequest(f"{where} is not an object", param=where)
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind == "item_reference":
            raise BadRequest(f"{where}: no items are kept here; send the item itself", param=where)
        if kind == "message" and item.get("role") == "assistant":
            said.append({**item, "type": kind, "content": _answered(item, where)})
        elif kind == "message" or kind in _OUTPUTS or (isinstance(kind, str) and _of_the_caller(kind)):
            _close(said, messages)
            messages.append(_of_caller(item, kind, where))
        elif isinstance(kind, str):
            said.append(item)
        else:
            raise BadRequest(f"{where} has neither a type nor a role", param=where)
    _close(said, messages)
    return messages


def _of_the_caller(kind: str) -> bool:
    return kind.endswith(("_output", "_approval_response"))


def _of_caller(item: Mapping[str, Any], kind: str, where: str) -> Message:
    if kind == "message":
        role = item.get("role")
        if role not in _ROLES:
            raise BadRequest(f"{where}.role must be user, system, developer or assistant", param=where)
        return {"role": role, "content": _content(item.get("content"), f"{where}.content")}
    if kind not in _OUTPUTS:
        # A provider that knows such an item is sent the body as it is; any other says that it does not know the part.
        return {"role": "user", "content": [item]}
    call_id = item.get("call_id")
    if not isinstance(call_id, str) or not call_id:
        raise BadRequest(f"{where}.call_id must be text", param=where)
    return {
        "role": "tool",
        "tool_call_id": call_id,
        "content": _content(item.get("output"), f"{where}.output"),
    }


def _content(content: Any, where: str) -> str | list[Any]:
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise BadRequest(f"{where} must be text or a list of parts", param=where)
    return [_part(part, f"{where}[{at}]") for at, part in enumerate(content)]


def _part(part: Any, where: str) -> Any:
    """Return a part under the name it has in a chat; one that a chat has no name for is passed on."""
    if not isinstance(part, Mapping):
        raise BadRequest(f"{where} is not an object", param=where)
    kind = part.get("type")
    if kind in {"input_text", "output_text"}:
        return {"type": "text", "text": part.get("text")}
    more = {key: value for key, value in part.items() if key != "type" and value is not None}
    if kind == "input_image":
        url = more.pop("image_url", None)
        return {"type": "image_url", "image_url": {**({} if url is None else {"url": url}), **more}}
    if kind == "input_file":
        return {"type": "file", "file": more}
    return part


def _answered(item: Mapping[str, Any], where: str) -> list[Mapping[str, Any]]:
    """Return the content of an earlier answer's message as parts."""
    content = item.get("content")
    if isinstance(content, str):
        return [{"type": "output_text", "text": content}]
    if not isinstance(content, Sequence) or not all(isinstance(part, Mapping) for part in content):
        raise BadRequest(f"{where}.content must be text or a list of parts", param=where)
    return [{**part, "type": "output_text"} if part.get("type") == "input_text" else part for part in content]


def _close(said: list[Mapping[str, Any]], messages: list[Message]) -> None:
    """Put an answer's items, if there are any, together to one message."""
    if not said:
        return
    items = [item for item in said if not is_sealed(item)]
    message: dict[str, Any] = {"role": "assistant", "content": None, **kept_of(items)}
    parts = [part for item in items if item.get("type") == "message" for part in parts_of(item)]
    text = "".join(text_of(part) for part in parts if part.get("type") == "output_text")
    refusal = "".join(text_of(part, "refusal") for part in parts if part.get("type") == "refusal")
    calls = [_call(item) for item in items if item.get("type") in CALLS]
    if text or not calls:
        message["content"] = text
    if refusal:
        message["refusal"] = refusal
    for item in said:
        if is_sealed(item):
            _take_sealed(item, message, calls)
    if calls:
        message["tool_calls"] = calls
    said.clear()
    if message.keys() > {"role", "content"} or text:
        messages.append(message)


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(item["type"])
    call: dict[str, Any] = {"id": str(item.get("call_id") or ""), **(extra_of_call(item) or {})}
    name, words = str(item.get("name") or ""), text_of(item, CALLS[kind])
    if kind == "custom_tool_call":
        return {**call, "type": "custom", "custom": {"name": name, "input": words}}
    return {**call, "type": "function", "function": {"name": name, "arguments": words}}


def _take_sealed(item: Mapping[str, Any], message: dict[str, Any], calls: Sequence[dict[str, Any]]) -> None:
    sealed = unseal(str(item["encrypted_content"]))
    if sealed is None:
        raise BadRequest("a reasoning item's encrypted_content is not as it was given", param="input")
    message.update(merged({name: message[name] for name in sealed.message if name in message}, sealed.message))
    for call in calls:
        more = sealed.calls.get(call["id"], {})
        call.update({name: value for name, value in more.items() if name not in call})
