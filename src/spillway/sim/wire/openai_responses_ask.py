"""How a request of OpenAI's Responses API is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.sim.ask import MEDIA_TOKENS, Ask, BadAsk, Tool, fingerprint, json_tokens, text_tokens, whole_number
from spillway.sim.wire.dialect import Route
from spillway.sim.wire.openai_ask import ANY_ANSWER, cache_counts, deciding, model_of, tier_of

SEALED = "gAAAAA"
"""What reasoning that was encrypted here begins with."""

_OF_CHAT = (
    "messages",
    "n",
    "stop",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "reasoning_effort",
    "logprobs",
    "modalities",
    "audio",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "verbosity",
)
_WORDS = {"input_text": "text", "output_text": "text", "refusal": "refusal"}
_MEDIA = frozenset({"input_image", "input_file", "input_audio"})
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_RESULTS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}


def read(body: Mapping[str, Any], route: Route, dialect: str) -> Ask:
    """Read a request for a response; raises `BadAsk`."""
    model = model_of(body, route)
    for name in _OF_CHAT:
        if name in body:
            raise BadAsk(f"Unknown parameter: '{name}'.", param=name)
    options = body.get("stream_options")
    options = options if isinstance(options, dict) else {}
    if "include_usage" in options:
        raise BadAsk("Unknown parameter: 'stream_options.include_usage'.", param="stream_options.include_usage")
    reader = _Reader(known=bool(body.get("previous_response_id") or body.get("conversation")))
    reader.read(body.get("input"))
    tokens = reader.tokens + text_tokens(str(body.get("instructions") or ""))
    tools = _tools(body.get("tools"))
    if body.get("tools"):
        tokens += json_tokens(body["tools"])
    tools, forced, by_name = _chosen(body.get("tool_choice"), tools)
    reasoning = body.get("reasoning")
    reasoning = reasoning if isinstance(reasoning, dict) else {}
    cached, written = cache_counts(body, tokens)
    return Ask(
        model=model,
        fingerprint=fingerprint(f"{dialect} responses", model, deciding(body)),
        input_tokens=tokens,
        last_user=reader.last_user,
        after_tool=reader.after_tool,
        stream=body.get("stream") is True,
        max_output=whole_number(body, "max_output_tokens"),
        tools=tools,
        forced_tool=forced,
        forced_by_name=by_name,
        json_schema=_json_schema(body.get("text")),
        thinking=reasoning.get("effort") not in {None, "none"},
        parallel=body.get("parallel_tool_calls") is not False,
        top_logprobs=whole_number(body, "top_logprobs", least=0) or 0,
        wants=_wants(body, reasoning),
        tier=tier_of(body),
        cached_tokens=cached,
        cache_write_tokens=written,
    )


def _wants(body: Mapping[str, Any], reasoning: Mapping[str, Any]) -> frozenset[str]:
    include = body.get("include")
    include = include if isinstance(include, list) else []
    tools = body.get("tools")
    wanted = {
        "refusal": True,
        "summary": bool(reasoning.get("summary")),
        "sealed": "reasoning.encrypted_content" in include,
        "logprobs": "message.output_text.logprobs" in include,
        "stored": body.get("store") is not False,
        "search": any(isinstance(tool, dict) and tool.get("type") == "web_search" for tool in tools or ()),
    }
    return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


class _Reader:
    """Reads the input: items in order, calls before their results, reasoning before what it led to.

    Args:
        known: whether the provider knows what came before, so that results may answer calls that are not here.
    """

    def __init__(self, *, known: bool) -> None:
        self.tokens = 0
        self.last_user = ""
        self.after_tool = False
        self._known = known
        self._calls: set[tuple[str, str]] = set()
        self._thought = ""

    def read(self, given: object) -> None:
        """Read a text or a list of items; raises `BadAsk`."""
        if isinstance(given, str) and given:
            self.tokens, self.last_user = text_tokens(given), given
            return
        if not isinstance(given, list) or not given:
            raise BadAsk("Missing required parameter: 'input'.", param="input")
        for at, item in enumerate(given):
            if not isinstance(item, dict):
                raise BadAsk(f"Invalid type for 'input[{at}]': expected an object.", param=f"input[{at}]")
            self._item(item, f"input[{at}]")
        self._followed("")

    def _item(self, item: dict[str, Any], where: str) -> None:
        kind = item.get("type", "message")
        if kind == "message":
            role = item.get("role")
            if role not in {"user", "assistant", "system", "developer"}:
                raise BadAsk(f"Invalid value: '{role}' at '{where}.role'.", param=f"{where}.role")
            self._followed("message" if role == "assistant" else "")
            text = self._content(item.get("content"), f"{where}.content")
            self.after_tool = False
            if role == "user":
                self.last_user = text
        elif kind == "reasoning":
            sealed = item.get("encrypted_content")
            if not isinstance(item.get("id"), str) or not isinstance(item.get("summary"), list):
                raise BadAsk(f"Missing required parameter: '{where}.id'.", param=where)
            if not isinstance(sealed, str) or not sealed.startswith(SEALED):
                raise BadAsk("The encrypted content could not be verified.", param=f"{where}.encrypted_content")
            self.tokens += text_tokens(sealed)
            self._thought = item["id"]
        elif kind in _CALLS:
            self._followed(kind)
            if not isinstance(item.get("name"), str) or not isinstance(item.get(_CALLS[kind]), str):
                raise BadAsk(f"Missing required parameter: '{where}.{_CALLS[kind]}'.", param=where)
            self._calls.add((kind, str(item.get("call_id"))))
            self.tokens += json_tokens(item)
        elif kind in _RESULTS:
            self._followed("")
            if (_RESULTS[kind], str(item.get("call_id"))) not in self._calls and not self._known:
                raise BadAsk(f"No tool call found for {kind} with call_id {item.get('call_id')}.", param="input")
            self._content(item.get("output"), f"{where}.output")
            self.after_tool = True
        else:
            self._followed(kind)
            self.tokens += json_tokens(item)

    def _followed(self, kind: str) -> None:
        """Refuse reasoning that nothing of the model's follows."""
        thought, self._thought = self._thought, ""
        if thought and not kind:
            raise BadAsk(
                f"Item '{thought}' of type 'reasoning' was provided without its required following item.", param="input"
            )

    def _content(self, content: object, where: str) -> str:
        if isinstance(content, str):
            self.tokens += text_tokens(content)
            return content
        if not isinstance(content, list):
            raise BadAsk(f"Invalid type for '{where}': expected a string or an array.", param=where)
        texts: list[str] = []
        for at, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind in _WORDS and isinstance(part.get(_WORDS[kind]), str):
                texts.append(part[_WORDS[kind]])
            elif kind in _MEDIA:
                self.tokens += MEDIA_TOKENS
            else:
                raise BadAsk(f"Invalid value: '{kind}' at '{where}[{at}].type'.", param=f"{where}[{at}].type")
        text = "".join(texts)
        self.tokens += text_tokens(text)
        return text


def _tools(tools: object) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for at, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in {"function", "custom"}:
            continue
        if not isinstance(tool.get("name"), str):
            raise BadAsk(f"Missing required parameter: 'tools[{at}].name'.", param=f"tools[{at}].name")
        schema = tool.get("parameters")
        if kind == "function" and "strict" not in tool:
            raise BadAsk(f"Missing required parameter: 'tools[{at}].strict'.", param=f"tools[{at}].strict")
        found.append(
            Tool(tool["name"], schema if isinstance(schema, dict) else {"type": "object"}, custom=kind == "custom")
        )
    return tuple(found)


def _chosen(choice: object, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], str | None, bool]:
    """Return the tools that may be called, the one that must be, and whether it was named."""
    if choice == "none":
        return (), None, False
    if choice == "required" and tools:
        return tools, tools[0].name, False
    if not isinstance(choice, dict):
        return tools, None, False
    if choice.get("type") == "allowed_tools":
        names = {str(tool.get("name")) for tool in choice.get("tools") or () if isinstance(tool, dict)}
        left = tuple(tool for tool in tools if tool.name in names)
        return left, left[0].name if left and choice.get("mode") == "required" else None, False
    if not isinstance(choice.get("name"), str):
        raise BadAsk("Missing required parameter: 'tool_choice.name'.", param="tool_choice.name")
    return tools, choice["name"], True


def _json_schema(text: object) -> Mapping[str, Any] | None:
    form = text.get("format") if isinstance(text, dict) else None
    if not isinstance(form, dict):
        return None
    if form.get("type") == "json_object":
        return ANY_ANSWER
    schema = form.get("schema")
    if form.get("type") == "json_schema" and not isinstance(schema, dict):
        raise BadAsk("Missing required parameter: 'text.format.schema'.", param="text.format.schema")
    return schema if isinstance(schema, dict) else None
