"""The blocks of Anthropic's messages, made parts of OpenAI-shaped ones; what has no such shape stays as it is.

Nothing is refused here: whoever is asked in the end knows what it can't take.

Source: https://docs.anthropic.com/en/api/messages.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from spillway.gateway.dialects.anthropic_signature import is_list, is_ours

_encode = msgspec.json.Encoder().encode

_USUAL = ("thinking", "server", "content", "tool")
_THINKING = frozenset({"thinking", "redacted_thinking"})
_CALL_KEYS = frozenset({"type", "id", "name", "input"})
_RESULT_KEYS = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_TEXT_KEYS = frozenset({"type", "text", "cache_control"})
_IMAGE_KEYS = frozenset({"type", "source", "cache_control"})
_DOCUMENT_KEYS = frozenset({"type", "source", "cache_control", "title", "context", "citations"})

Part = Mapping[str, Any]


def user_messages(content: Any) -> Iterator[dict[str, Any]]:
    """Yield what a user's message says: results of tools as messages of their own, in its order."""
    if not is_list(content):
        yield {"role": "user", "content": content}
        return
    said: list[Any] = []
    for block in content:
        if _is_result(block):
            if said:
                yield {"role": "user", "content": said}
                said = []
            yield _result(block)
        else:
            said.append(part_of(block))
    if said or not content:
        yield {"role": "user", "content": said}


def assistant_message(content: Any) -> dict[str, Any]:
    """Return what an assistant's message says, with `block_order` where that is not the usual one.

    Thinking that other providers did, which we have signed ourselves, is left out: nobody takes it back.
    """
    if not is_list(content):
        return {"role": "assistant", "content": content}
    thoughts: list[Any] = []
    server: list[Any] = []
    parts: list[Any] = []
    calls: list[Any] = []
    order: list[str] = []
    lists = {"thinking": thoughts, "server": server, "content": parts, "tool": calls}
    for block in content:
        kind = block.get("type") if isinstance(block, Mapping) else None
        if isinstance(kind, str) and kind in _THINKING:
            if is_ours(block):
                continue
            where, what = "thinking", block
        elif kind == "tool_use" and _is_call(block):
            where, what = "tool", _call(block)
        elif kind == "text" or not isinstance(kind, str):
            where, what = "content", part_of(block)
        else:
            where, what = "server", block
        lists[where].append(what)
        order.append(where)
    message: dict[str, Any] = {"role": "assistant", "content": _plain(parts)}
    if thoughts:
        message["thinking_blocks"] = thoughts
    if server:
        message["server_blocks"] = server
    if calls:
        message["tool_calls"] = calls
    if order != sorted(order, key=_USUAL.index):
        message["content"] = parts
        message["block_order"] = order
    return message


def part_of(block: Any) -> Any:
    """Return a block of content as a part; one that has no counterpart as it is."""
    if not isinstance(block, Mapping):
        return block
    kind = block.get("type")
    if kind == "image" and block.keys() <= _IMAGE_KEYS:
        return _marked(_image(block["source"]), block) if _has_source(block) else block
    if kind == "document" and block.keys() <= _DOCUMENT_KEYS and _has_source(block):
        file = _file(block["source"])
        if file is None:
            return block
        if isinstance(block.get("title"), str):
            file["filename"] = block["title"]
        file.update({name: block[name] for name in ("context", "citations") if block.get(name) is not None})
        return _marked({"type": "file", "file": file}, block)
    return block


def _result(block: Mapping[str, Any]) -> dict[str, Any]:
    content = block.get("content")
    message: dict[str, Any] = {
        "role": "tool",
        "tool_call_id": block["tool_use_id"],
        "content": [part_of(each) for each in content] if is_list(content) else "" if content is None else content,
    }
    if block.get("is_error"):
        message["is_error"] = True
    if block.get("cache_control") is not None:
        message["cache_control"] = block["cache_control"]
    return message


def _call(block: Mapping[str, Any]) -> dict[str, Any]:
    call: dict[str, Any] = {
        "id": block["id"],
        "type": "function",
        "function": {"name": block["name"], "arguments": _encode(block["input"]).decode()},
    }
    call.update({name: value for name, value in block.items() if name not in _CALL_KEYS and value is not None})
    return call


def _image(source: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = source.get("type")
    if kind == "base64" and isinstance(source.get("data"), str):
        return {"type": "image_url", "image_url": {"url": f"data:{source.get('media_type')};base64,{source['data']}"}}
    if kind == "url":
        return {"type": "image_url", "image_url": {"url": source.get("url")}}
    if kind == "file":
        return {"type": "image_url", "image_url": {"file_id": source.get("file_id")}}
    return None


def _file(source: Mapping[str, Any]) -> dict[str, Any] | None:
    kind, data = source.get("type"), source.get("data")
    if kind == "base64" and isinstance(data, str):
        return {"file_data": f"data:{source.get('media_type')};base64,{data}"}
    if kind == "text" and isinstance(data, str):
        packed = b64encode(data.encode("utf-8", "replace")).decode()
        return {"file_data": f"data:text/plain;base64,{packed}"}
    if kind == "url":
        return {"file_url": source.get("url")}
    if kind == "file":
        return {"file_id": source.get("file_id")}
    return None


def _marked(part: Any, block: Mapping[str, Any]) -> Any:
    """Put a block's cache mark on what it became; what it could not become it stays."""
    if part is None:
        return block
    if block.get("cache_control") is not None:
        part["cache_control"] = block["cache_control"]
    return part


def _plain(parts: list[Any]) -> Any:
    """Return the content of an assistant's message: the text alone where that is all."""
    if not parts:
        return None
    only = parts[0]
    if len(parts) == 1 and isinstance(only, Mapping) and only.keys() == {"type", "text"}:
        return only["text"]
    return parts


def _is_result(block: Any) -> bool:
    return (
        isinstance(block, Mapping)
        and block.get("type") == "tool_result"
        and isinstance(block.get("tool_use_id"), str)
        and block.keys() <= _RESULT_KEYS
    )


def _is_call(block: Mapping[str, Any]) -> bool:
    return (
        isinstance(block.get("id"), str)
        and isinstance(block.get("name"), str)
        and isinstance(block.get("input"), Mapping)
    )


def _has_source(block: Mapping[str, Any]) -> bool:
    return isinstance(block.get("source"), Mapping)
