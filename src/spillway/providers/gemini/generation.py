"""How an answer is to be made: Gemini's generationConfig and tools, of OpenAI's fields.

Source: https://ai.google.dev/api/generate-content#generationconfig.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses, stop_list, unsupported
from spillway.providers.gemini.contents import RUNTIME, Target
from spillway.providers.turns import schema_of

MOST_STOPS = 5

_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH", "max": "XHIGH"}
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_FUNCTION_KEYS = frozenset({"name", "description", "parameters", "strict"})


def generation_of(request: GenerateRequest, target: Target, losses: Losses) -> dict[str, Any]:
    """Return the `generationConfig` of a request's own fields.

    Raises:
        BadRequest: one has no counterpart; it is named.
    """
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
        if len(stops) > MOST_STOPS:
            losses.drop("stop", f"at most {MOST_STOPS} sequences are taken")
        config["stopSequences"] = stops[:MOST_STOPS]
    if request.response_format is not None:
        kind, schema = schema_of(request.response_format, RUNTIME)
        if kind != "text":
            config["responseMimeType"] = "application/json"
        if schema is not None:
            config["responseJsonSchema"] = schema
    effort = request.reasoning_effort
    if effort is not None:
        value: Any = (_BUDGETS if target.old else _LEVELS).get(effort)
        if value is None:
            losses.drop("reasoning_effort", f"{target.model} has no effort {effort!r}")
        else:
            config["thinkingConfig"] = {"thinkingBudget" if target.old else "thinkingLevel": value}
    return config


def tools_of(tools: Sequence[Mapping[str, Any]], losses: Losses) -> tuple[list[Any], bool]:
    """Return the tools, and whether one of them is strict; tools of Gemini's own, which have no `type`, pass.

    Raises:
        BadRequest: a tool is of a type that there is not, or a function without a name.
    """
    declared: list[dict[str, Any]] = []
    others: list[Any] = []
    strict = False
    for at, tool in enumerate(tools):
        if "type" not in tool:
            others.append(tool)
            continue
        if tool["type"] != "function":
            raise unsupported(f"tools[{at}]", RUNTIME, f"there are no tools of type {tool['type']!r}")
        function = tool.get("function")
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise BadRequest(f"tools[{at}].function has no name", provider=RUNTIME)
        if tool.get("cache_control"):
            losses.drop(f"tools[{at}].cache_control", f"the {RUNTIME} runtime can't carry it")
        declared.append(_declared(function, f"tools[{at}].function", losses))
        strict = strict or bool(function.get("strict"))
    return ([{"functionDeclarations": declared}] if declared else []) + others, strict


def _declared(function: Mapping[str, Any], where: str, losses: Losses) -> dict[str, Any]:
    mine: dict[str, Any] = {"name": function["name"]}
    if function.get("description"):
        mine["description"] = function["description"]
    if function.get("parameters"):
        mine["parametersJsonSchema"] = function["parameters"]
    for name in function.keys() - _FUNCTION_KEYS:
        if function[name]:
            losses.drop(f"{where}.{name}", f"the {RUNTIME} runtime can't carry it")
    return mine


def choice_of(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the `functionCallingConfig` of a `tool_choice`.

    Raises:
        BadRequest: it is none of OpenAI's.
    """
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
