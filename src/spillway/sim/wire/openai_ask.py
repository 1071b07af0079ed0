"""How a chat completion request is read."""

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
from spillway.sim.wire.dialect import Route

MOST_ANSWERS = 128
MOST_TOP_LOGPROBS = 20
ANY_ANSWER = {"type": "object", "properties": {"answer": {"type": "string"}}}

NOT_DECIDING = frozenset(
    {
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "user",
        "metadata",
        "safety_identifier",
        "store",
        "include",
        "n",
        "logprobs",
        "top_logprobs",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "moderation",
    }
)
"""Fields that do not decide what the answer says."""

_MEDIA = {
    "image_url": ("image_url", ("url",)),
    "input_audio": ("input_audio", ("data", "format")),
    "file": ("file", ()),
}


def read(body: Mapping[str, Any], route: Route, dialect: str) -> Ask:
    """Read a chat completion request; raises `BadAsk`."""
    model = model_of(body, route)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadAsk("Missing required parameter: 'messages'.", param="messages")
    tokens, last_user, last_role = _weigh(messages)
    tools = _tools(body.get("tools"))
    if body.get("tools"):
        tokens += json_tokens(body["tools"])
    tools, forced, by_name = _chosen(body.get("tool_choice"), tools)
    options = body.get("stream_options")
    options = options if isinstance(options, dict) else {}
    cached, written = cache_counts(body, tokens)
    return Ask(
        model=model,
        fingerprint=fingerprint(dialect, model, deciding(body)),
        input_tokens=tokens,
        last_user=last_user,
        after_tool=last_role == "tool",
        stream=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        max_output=whole_number(body, "max_completion_tokens") or whole_number(body, "max_tokens"),
        stop=stop_list(body.get("stop")),
        tools=tools,
        forced_tool=forced,
        forced_by_name=by_name,
        json_schema=_json_schema(body.get("response_format")),
        thinking=_thinks(body, dialect),
        parallel=body.get("parallel_tool_calls") is not False,
        answers=_bounded(body, "n", MOST_ANSWERS) or 1,
        top_logprobs=_bounded(body, "top_logprobs", MOST_TOP_LOGPROBS) or 0,
        wants=_wants(body, options),
        tier=tier_of(body),
        cached_tokens=cached,
        cache_write_tokens=written,
    )


def _thinks(body: Mapping[str, Any], dialect: str) -> bool:
    """Return whether it is to reason; LiteLLM knows Anthropic's field too."""
    effort, own = body.get("reasoning_effort"), body.get("thinking")
    if dialect == "litellm" and isinstance(own, dict) and own.get("type") in {"enabled", "adaptive"}:
        return True
    return isinstance(effort, str) and effort != "none"


def model_of(body: Mapping[str, Any], route: Route) -> str:
    """Return the model that is asked; raises `BadAsk`."""
    model = route.model or body.get("model")
    if not isinstance(model, str) or not model:
        raise BadAsk("you must provide a model parameter", param="model")
    return model


def deciding(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that decide what the answer says."""
    return {key: value for key, value in body.items() if key not in NOT_DECIDING}


def cache_counts(body: Mapping[str, Any], tokens: int) -> tuple[int, int]:
    """Return the tokens read from the cache and written to it: with a `prompt_cache_key` a half and a quarter."""
    return (tokens // 2, tokens // 4) if body.get("prompt_cache_key") else (0, 0)


def tier_of(body: Mapping[str, Any]) -> str:
    """Return the service tier that the answer reports."""
    asked = body.get("service_tier")
    if asked in {None, "auto"}:
        return "default"
    return "priority" if asked == "fast" else str(asked)


def _wants(body: Mapping[str, Any], options: Mapping[str, Any]) -> frozenset[str]:
    modalities = body.get("modalities")
    wanted = {
        "refusal": True,
        "logprobs": body.get("logprobs") is True,
        "audio": isinstance(modalities, list) and "audio" in modalities,
        "moderation": isinstance(body.get("moderation"), dict),
        "obfuscation": options.get("include_obfuscation") is True,
    }
    if body.get("top_logprobs") and not wanted["logprobs"]:
        raise BadAsk("'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs")
    return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


def _bounded(body: Mapping[str, Any], key: str, most: int) -> int | None:
    value = whole_number(body, key, least=0 if key == "top_logprobs" else 1)
    if value is not None and value > most:
        raise BadAsk(f"Invalid '{key}': expected at most {most}.", param=key)
    return value


def _weigh(messages: list[Any]) -> tuple[int, str, str]:
    tokens, last_user, role = 0, "", ""
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadAsk(f"Invalid type for '{where}': expected an object with a role.", param=where)
        role = message["role"]
        content = message.get("content")
        if isinstance(content, str):
            text, media = content, 0
        elif isinstance(content, list):
            text, media = _parts(content, f"{where}.content")
        elif content is None and role == "assistant":
            text, media = "", 0
        else:
            raise BadAsk(
                f"Invalid type for '{where}.content': expected a string or an array.", param=f"{where}.content"
            )
        if role == "tool" and not isinstance(message.get("tool_call_id"), str):
            raise BadAsk(f"Missing required parameter: '{where}.tool_call_id'.", param=f"{where}.tool_call_id")
        tokens += text_tokens(text) + media * MEDIA_TOKENS
        if message.get("tool_calls"):
            tokens += json_tokens(message["tool_calls"])
        if role == "user":
            last_user = text
    return tokens, last_user, role


def _parts(content: list[Any], where: str) -> tuple[str, int]:
    """Return the text of parts and how many of them are not text."""
    texts: list[str] = []
    media = 0
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in {"text", "refusal"} and isinstance(part.get(kind), str):
            texts.append(part[kind])
        elif kind in _MEDIA:
            name, needed = _MEDIA[kind]
            given = part.get(name)
            if not isinstance(given, dict) or not all(isinstance(given.get(key), str) for key in needed):
                raise BadAsk(f"Invalid type for '{where}[{at}].{name}'.", param=f"{where}[{at}].{name}")
            if kind == "file" and not given.get("file_id") and not given.get("file_data"):
                raise BadAsk(f"Missing required parameter: '{where}[{at}].file.file_id'.", param=f"{where}[{at}].file")
            media += 1
        else:
            raise BadAsk(f"Invalid value: '{kind}' at '{where}[{at}].type'.", param=f"{where}[{at}].type")
    return "".join(texts), media


def _tools(tools: object) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for tool in tools if isinstance(tools, list) else ():
        function, custom = (tool.get(key) if isinstance(tool, dict) else None for key in ("function", "custom"))
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found.append(Tool(function["name"], schema if isinstance(schema, dict) else {"type": "object"}))
        elif isinstance(custom, dict) and isinstance(custom.get("name"), str):
            found.append(Tool(custom["name"], {}, custom=True))
    return tuple(found)


def _chosen(choice: object, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], str | None, bool]:
    """Return the tools that may be called, the one that must be, and whether it was named."""
    if choice == "none":
        return (), None, False
    if choice == "required" and tools:
        return tools, tools[0].name, False
    if isinstance(choice, dict):
        for kind in ("function", "custom"):
            if isinstance(choice.get(kind), dict):
                return tools, str(choice[kind].get("name")), True
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            names = {
                str(named.get("name"))
                for tool in allowed.get("tools") or ()
                if isinstance(tool, dict)
                for named in (tool.get("function") or tool.get("custom") or tool,)
            }
            left = tuple(tool for tool in tools if tool.name in names)
            return left, left[0].name if left and allowed.get("mode") == "required" else None, False
    return tools, None, False


def _json_schema(response_format: object) -> Mapping[str, Any] | None:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return ANY_ANSWER
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    return schema if isinstance(schema, dict) else None
