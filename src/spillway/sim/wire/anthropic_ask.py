"""How Anthropic's message requests are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.sim.ask import (
    MEDIA_TOKENS,
    Ask,
    BadAsk,
    Tool,
    fingerprint,
    json_tokens,
    stop_list,
    text_tokens,
    whole_number,
)

_NOT_DECIDING = frozenset({"stream", "max_tokens", "metadata"})
_WITHOUT_SAMPLING = "2026-10-21"
_ROLES = frozenset({"user", "assistant", "system"})


def read(body: Mapping[str, Any], dialect: str, *, version: str) -> Ask:
    """Read a message request under an API version, "" for none given; raises `BadAsk`."""
    if version >= _WITHOUT_SAMPLING:
        for name in ("temperature", "top_p", "top_k"):
            if name in body:
                raise BadAsk(f"{name}: Extra inputs are not permitted")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadAsk("model: Field required")
    limit = whole_number(body, "max_tokens")
    if limit is None:
        raise BadAsk("max_tokens: Field required")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadAsk("messages: at least one message is required")
    tokens, _, _ = _weigh(body.get("system") or "", "system")
    last_user, after_tool = "", False
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise BadAsk(f"messages.{at}.role: Input should be 'user' or 'assistant'")
        weight, text, after_tool = _weigh(message.get("content"), f"messages.{at}.content")
        tokens += weight
        if message["role"] == "user" and text:
            last_user = text
    tools = _tools(body.get("tools"))
    if tools:
        tokens += json_tokens(body["tools"])
    choice = body.get("tool_choice")
    choice = choice if isinstance(choice, dict) else {}
    forced = str(choice.get("name")) if choice.get("type") == "tool" else None
    if choice.get("type") == "any" and tools:
        forced = tools[0].name
    thinking = body.get("thinking")
    return Ask(
        model=model,
        fingerprint=fingerprint(
            dialect, model, {key: value for key, value in body.items() if key not in _NOT_DECIDING}
        ),
        input_tokens=tokens,
        last_user=last_user,
        after_tool=after_tool,
        stream=body.get("stream") is True,
        max_output=limit,
        stop=stop_list(body.get("stop_sequences")),
        tools=tools if choice.get("type") != "none" else (),
        forced_tool=forced,
        json_schema=_json_schema(body.get("output_config")),
        thinking=isinstance(thinking, dict) and thinking.get("type") not in {None, "disabled"},
    )


def _weigh(content: object, where: str) -> tuple[int, str, bool]:
    if isinstance(content, str):
        return text_tokens(content), content, False
    if not isinstance(content, list):
        raise BadAsk(f"{where}: Input should be a valid list")
    tokens, texts, tool_result = 0, [], False
    for block in content:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise BadAsk(f"{where}: Input should be a valid content block")
        kind = block["type"]
        if kind == "text":
            text = str(block.get("text", ""))
            if not text:
                raise BadAsk(f"{where}: text content blocks must be non-empty")
            texts.append(text)
            tokens += text_tokens(text)
        elif kind in {"image", "document"}:
            tokens += MEDIA_TOKENS
        elif kind == "tool_result":
            tool_result = True
            tokens += json_tokens(block.get("content"))
        elif kind == "tool_use":
            tokens += json_tokens(block.get("input"))
    return tokens, "".join(texts), tool_result


def _tools(tools: object) -> tuple[Tool, ...]:
    return tuple(
        Tool(tool["name"], tool["input_schema"])
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and isinstance(tool.get("name"), str) and isinstance(tool.get("input_schema"), dict)
    )


def _json_schema(config: object) -> Mapping[str, Any] | None:
    wanted = config.get("format") if isinstance(config, dict) else None
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    return schema if isinstance(schema, dict) else None
