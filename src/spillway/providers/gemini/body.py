"""Gemini's request body, made of an OpenAI-shaped request.

Source: https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses, drop_openai_fields, extra_fields, stop_list, unsupported
from spillway.providers.gemini.config import SafetySetting
from spillway.providers.parts import Media, Native, Text
from spillway.providers.turns import Block, Call, Conversation, Thought, read_turns, schema_of

RUNTIME = "gemini"
MADE_ID = "call-made-"
"""Begins the ids of calls to which the provider gave none."""

UNSIGNED = "skip_thought_signature_validator"
"""What the provider takes for a call whose signature is not at hand."""

_OLD_MODELS = ("gemini-1", "gemini-2")
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}


def encode_contents(
    request: GenerateRequest, losses: Losses, *, model: str, vertex: bool, safety: Sequence[SafetySetting]
) -> dict[str, Any]:
    """Return the body of a `generateContent` request; whether it is streamed is the URL's to say.

    Args:
        vertex: leave out what Vertex does not know: the ids of calls.

    Raises:
        BadRequest: something in the request has no counterpart here; it names the field.
    """
    said = read_turns(request.messages, losses)
    body: dict[str, Any] = {"contents": _contents(said, signed=not model.startswith(_OLD_MODELS), ids=not vertex)}
    if said.system:
        body["systemInstruction"] = {"parts": [{"text": "\n\n".join([text.text for text in said.system])}]}
    config = _generation(request, model)
    if config:
        body["generationConfig"] = config
    strict = False
    if request.tools:
        body["tools"], strict = _tools(request.tools)
    if request.tool_choice is not None:
        body["toolConfig"] = {"functionCallingConfig": _choice(request.tool_choice)}
    if strict:
        calling = body.setdefault("toolConfig", {}).setdefault("functionCallingConfig", {})
        if calling.get("mode", "AUTO") == "AUTO":
            calling["mode"] = "VALIDATED"
    if safety:
        body["safetySettings"] = [{"category": one.category, "threshold": one.threshold} for one in safety]
    if request.extra:
        _add_extra(body, extra_fields(request, RUNTIME), losses)
    return body


def _contents(said: Conversation, *, signed: bool, ids: bool) -> list[dict[str, Any]]:
    current = max((at for at, turn in enumerate(said.turns) if _is_asked(turn.blocks)), default=-1)
    contents: list[dict[str, Any]] = []
    for at, turn in enumerate(said.turns):
        parts: list[dict[str, Any]] = []
        first = signed and at > current
        for block in turn.blocks:
            parts.append(_part(block, ids=ids, sign=first))
            first = first and not isinstance(block, Call)
        contents.append({"role": "model" if turn.side == "assistant" else "user", "parts": parts})
    return contents


def _is_asked(blocks: Sequence[Block]) -> bool:
    """Whether these are a user's words, which begin a turn in the sense of the signatures."""
    return any(isinstance(block, Text) for block in blocks) and not any(isinstance(block, Call) for block in blocks)


def _part(block: Block, *, ids: bool, sign: bool) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"text": block.text}
    if isinstance(block, Call):
        call: dict[str, Any] = {"name": block.name, "args": block.arguments}
        if ids and block.id and not block.id.startswith(MADE_ID):
            call["id"] = block.id
        part: dict[str, Any] = {"functionCall": call}
        signature = _signature(block.extra)
        if signature is not None:
            part["thoughtSignature"] = signature
        elif sign:
            part["thoughtSignature"] = UNSIGNED
        return part
    if isinstance(block, Media | Native | Thought):
        raise unsupported(getattr(block, "where", "messages"), RUNTIME, "only text is supported yet")
    if not block.name:
        why = f"no call {block.call_id!r} precedes it and it names no tool"
        raise unsupported("messages: tool_call_id", RUNTIME, why)
    result: dict[str, Any] = {"name": block.name, "response": {"output": block.text}}
    if ids and block.call_id and not block.call_id.startswith(MADE_ID):
        result["id"] = block.call_id
    return {"functionResponse": result}


def _signature(extra: Mapping[str, Any]) -> str | None:
    """Return what Google signs a call with, from where its OpenAI-compatible API puts it."""
    content = extra.get("extra_content")
    google = content.get("google") if isinstance(content, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return signature if isinstance(signature, str) else None


def _generation(request: GenerateRequest, model: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if request.max_tokens is not None:
        config["maxOutputTokens"] = request.max_tokens
    if request.temperature is not None:
        config["temperature"] = request.temperature
    if request.top_p is not None:
        config["topP"] = request.top_p
    if request.seed is not None:
        config["seed"] = request.seed
    stops = stop_list(request.stop)
    if stops:
        config["stopSequences"] = stops
    if request.response_format is not None:
        kind, schema = schema_of(request.response_format, RUNTIME)
        if kind != "text":
            config["responseMimeType"] = "application/json"
        if schema is not None:
            config["responseJsonSchema"] = schema
    effort = request.reasoning_effort
    if effort is not None:
        by_budget = model.startswith(_OLD_MODELS)
        value: Any = (_BUDGETS if by_budget else _LEVELS).get(effort)
        if value is None:
            raise unsupported("reasoning_effort", RUNTIME, f"{model} has no effort {effort!r}")
        config["thinkingConfig"] = {"thinkingBudget" if by_budget else "thinkingLevel": value}
    return config


def _tools(tools: Sequence[Mapping[str, Any]]) -> tuple[list[Any], bool]:
    declared: list[dict[str, Any]] = []
    others: list[Any] = []
    strict = False
    for at, tool in enumerate(tools):
        function = tool.get("function")
        if tool.get("type") != "function":
            if "type" in tool:
                raise unsupported(f"tools[{at}]", RUNTIME, f"there are no tools of type {tool['type']!r}")
            others.append(tool)
            continue
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise BadRequest(f"tools[{at}].function has no name", provider=RUNTIME)
        mine: dict[str, Any] = {"name": function["name"]}
        if function.get("description"):
            mine["description"] = function["description"]
        if function.get("parameters"):
            mine["parametersJsonSchema"] = function["parameters"]
        strict = strict or bool(function.get("strict"))
        declared.append(mine)
    return ([{"functionDeclarations": declared}] if declared else []) + others, strict


def _choice(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(choice, str):
        mode = _MODES.get(choice)
        if mode is None:
            raise unsupported("tool_choice", RUNTIME, f"there is no choice {choice!r}")
        return {"mode": mode}
    if choice.get("type") == "function":
        return {"mode": "ANY", "allowedFunctionNames": [(choice.get("function") or {}).get("name")]}
    allowed = choice.get("allowed_tools")
    if choice.get("type") != "allowed_tools" or not isinstance(allowed, Mapping):
        raise unsupported("tool_choice", RUNTIME, "it must be a mode, a function or allowed_tools")
    names = [(tool.get("function") or {}).get("name") for tool in allowed.get("tools") or ()]
    mode = "ANY" if allowed.get("mode") == "required" else "VALIDATED"
    return {"mode": mode, "allowedFunctionNames": names}


def _add_extra(body: dict[str, Any], extra: dict[str, Any], losses: Losses) -> None:
    """Merge the provider's own fields in, tables into tables; a few of OpenAI's are translated."""
    drop_openai_fields(extra, losses)
    if extra.pop("parallel_tool_calls", None) is False:
        losses.drop("extra.parallel_tool_calls", "the API can't forbid parallel calls")
    for theirs, ours in (
        ("max_completion_tokens", "maxOutputTokens"),
        ("presence_penalty", "presencePenalty"),
        ("frequency_penalty", "frequencyPenalty"),
    ):
        value = extra.pop(theirs, None)
        if value is not None:
            body.setdefault("generationConfig", {})[ours] = value
    _merge(body, extra)


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        present = into.get(name)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _merge(present, value)
        else:
            into[name] = value
