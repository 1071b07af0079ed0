"""How Gemini's requests are read."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from spillway.sim.ask import Ask, BadAsk, Tool, fingerprint, json_tokens, stop_list, text_tokens, whole_number
from spillway.sim.wire import gemini_signatures
from spillway.sim.wire.dialect import Route

PART_TOKENS = 258
"""What an image, a page, a sound or a film counts, inline or by its address."""

MOST_CANDIDATES = 8
MOST_STOPS = 5

_PARTS = frozenset(
    {
        "codeExecutionResult",
        "executableCode",
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "mediaResolution",
        "text",
        "thought",
        "thoughtSignature",
        "toolCall",
        "toolResponse",
        "videoMetadata",
    }
)


class GeminiAsk(Ask, frozen=True, kw_only=True):
    """A question in Gemini's words.

    `calls` are the functions that the rules have it call, `alternatives` how many tokens stand beside each where log
    probabilities are asked for; `image`, `code` and `search` what else the answer is to hold.
    """

    dialect: str
    calls: tuple[Tool, ...] = ()
    candidates: int = 1
    alternatives: int | None = None
    image: bool = False
    code: bool = False
    search: bool = False
    in_pieces: bool = False


def read(body: Mapping[str, Any], route: Route, dialect: str) -> GeminiAsk:
    """Read a `generateContent` request; raises `BadAsk`."""
    model = route.model or ""
    contents = _contents(body.get("contents"))
    gemini_signatures.check(dialect, model, contents)
    system = body.get("systemInstruction") or body.get("system_instruction")
    tokens = weigh(system, "systemInstruction")[0] if system else 0
    last_user, after_tool, steps = "", False, 0
    for at, content in enumerate(contents):
        weight, text, after_tool = weigh(content, f"contents[{at}]")
        tokens += weight
        if content.get("role", "user") == "user" and text:
            last_user, steps = text, 0
        elif any("functionCall" in part for part in content["parts"]):
            steps += 1
    tools = _tools(body.get("tools"))
    if body.get("tools"):
        tokens += json_tokens(body["tools"])
    generation = body.get("generationConfig") or body.get("generation_config") or {}
    if not isinstance(generation, dict):
        raise BadAsk("Invalid value at 'generation_config'")
    config = _calling(body.get("toolConfig") or body.get("tool_config"))
    calls = _forced(config, tools) or (() if after_tool and not steps else _asked_for(last_user, steps, config, tools))
    if config.get("streamFunctionCallArguments") and dialect != "vertex":
        raise BadAsk("Invalid JSON payload received. Unknown name \"streamFunctionCallArguments\" at 'tool_config'")
    thinking = generation.get("thinkingConfig")
    deciding = {key: value for key, value in generation.items() if key not in {"maxOutputTokens", "candidateCount"}}
    stops = stop_list(generation.get("stopSequences"))
    if len(stops) > MOST_STOPS:
        raise BadAsk(f"The number of stop sequences must be at most {MOST_STOPS}.")
    return GeminiAsk(
        dialect=dialect,
        model=model,
        fingerprint=fingerprint(dialect, model, {**body, "generationConfig": deciding}),
        input_tokens=tokens,
        last_user=last_user,
        after_tool=after_tool,
        stream=route.stream is True,
        as_events=route.variant == "sse",
        max_output=whole_number(generation, "maxOutputTokens"),
        stop=stops,
        tools=calls,
        forced_tool=calls[0].name if calls else None,
        json_schema=_json_schema(generation),
        thinking=isinstance(thinking, dict) and thinking.get("includeThoughts") is True,
        calls=calls,
        candidates=_candidates(generation),
        alternatives=_logprobs(generation),
        image="IMAGE" in (generation.get("responseModalities") or ()),
        code=_has(body.get("tools"), "codeExecution") and "run code" in last_user,
        search=_has(body.get("tools"), "googleSearch") and "search" in last_user,
        in_pieces=config.get("streamFunctionCallArguments") is True,
    )


def weigh(content: object, where: str) -> tuple[int, str, bool]:
    """Return a content's tokens, its text, and whether it holds what a function returned; raises `BadAsk`."""
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise BadAsk(f"Invalid value at '{where}': parts must be a list of objects")
    tokens, texts, answered = 0, [], False
    for at, part in enumerate(parts):
        tokens += _part_tokens(part, f"{where}.parts[{at}]")
        answered = answered or "functionResponse" in part
        if isinstance(part.get("text"), str) and not part.get("thought"):
            texts.append(part["text"])
    return tokens, "".join(texts), answered


def _contents(given: object) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not given:
        raise BadAsk("* GenerateContentRequest.contents: contents is not specified")
    for at, content in enumerate(given):
        weigh(content, f"contents[{at}]")
        if content.get("role", "user") not in {"user", "model", "function"}:
            raise BadAsk("Please use a valid role: user, model.")
        if at and content.get("role", "user") != "model":
            _check_results(given[at - 1], content)
    return given


def _check_results(before: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    called = sum("functionCall" in part for part in before["parts"])
    returned = sum("functionResponse" in part for part in content["parts"])
    if called and called != returned:
        raise BadAsk(
            "Please ensure that the number of function response parts is equal to the number of function call parts of"
            " the function call turn."
        )


def _part_tokens(part: Mapping[str, Any], where: str) -> int:
    for name in part:
        if name not in _PARTS:
            raise BadAsk(f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': Cannot find field.")
    if isinstance(part.get("text"), str):
        return text_tokens(part["text"])
    if "inlineData" in part:
        _check_blob(part["inlineData"], where)
        return PART_TOKENS
    if "fileData" in part:
        file = part["fileData"]
        if not isinstance(file, dict) or not isinstance(file.get("fileUri"), str) or not file["fileUri"]:
            raise BadAsk(f"Invalid value at '{where}.file_data': file_uri is required")
        return PART_TOKENS
    result = part.get("functionResponse")
    if isinstance(result, dict):
        media = result.get("parts") or []
        plain = {name: value for name, value in result.items() if name != "parts"}
        return json_tokens(plain) + sum(_part_tokens(one, f"{where}.parts") for one in media)
    return json_tokens({name: value for name, value in part.items() if name != "thoughtSignature"})


def _check_blob(blob: object, where: str) -> None:
    if not isinstance(blob, dict) or not isinstance(blob.get("mimeType"), str) or not isinstance(blob.get("data"), str):
        raise BadAsk(f"Invalid value at '{where}.inline_data': mime_type and data are required")
    try:
        base64.b64decode(blob["data"], validate=True)
    except (binascii.Error, ValueError):
        raise BadAsk(f"Invalid value at '{where}.inline_data.data' (TYPE_BYTES), Base64 decoding failed") from None


def _tools(tools: object) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for group in tools if isinstance(tools, list) else ():
        declared = group.get("functionDeclarations") if isinstance(group, dict) else None
        for function in declared if isinstance(declared, list) else ():
            if isinstance(function, dict) and isinstance(function.get("name"), str):
                schema = function.get("parametersJsonSchema") or function.get("parameters")
                found.append(Tool(function["name"], schema if isinstance(schema, dict) else {"type": "object"}))
    return tuple(found)


def _has(tools: object, kind: str) -> bool:
    return any(isinstance(tool, dict) and kind in tool for tool in (tools if isinstance(tools, list) else ()))


def _calling(config: object) -> Mapping[str, Any]:
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    return calling if isinstance(calling, dict) else {}


def _forced(calling: Mapping[str, Any], tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    if calling.get("mode") != "ANY" or not tools:
        return ()
    names = calling.get("allowedFunctionNames")
    wanted = str(names[0]) if isinstance(names, list) and names else tools[0].name
    return (next((tool for tool in tools if tool.name == wanted), tools[0]),)


def _asked_for(last_user: str, step: int, calling: Mapping[str, Any], tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Return the tools that "call A and call B, then call C" names for this step, in the order of their names there."""
    if calling.get("mode") == "NONE":
        return ()
    segments = re.split(r",? then ", last_user)
    if step >= len(segments):
        return ()
    found = [(re.search(rf"call {re.escape(tool.name)}\b", segments[step]), tool) for tool in tools]
    named = [(match.start(), tool) for match, tool in found if match is not None]
    return tuple(tool for _, tool in sorted(named, key=lambda pair: pair[0]))


def _candidates(generation: Mapping[str, Any]) -> int:
    count = whole_number(generation, "candidateCount") or 1
    if count > MOST_CANDIDATES:
        raise BadAsk(f"candidateCount must be between 1 and {MOST_CANDIDATES}")
    return count


def _logprobs(generation: Mapping[str, Any]) -> int | None:
    if generation.get("responseLogprobs") is not True:
        if generation.get("logprobs") is not None:
            raise BadAsk("logprobs needs responseLogprobs to be true")
        return None
    return whole_number(generation, "logprobs", least=0) or 0


def _json_schema(generation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = generation.get("responseJsonSchema") or generation.get("responseSchema")
    if isinstance(schema, dict):
        return schema
    if generation.get("responseMimeType") == "application/json":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return None


def texts_of(rows: Sequence[object]) -> list[str]:
    """Return the texts of embeddings' contents; raises `BadAsk`."""
    return [weigh(row, f"requests[{at}].content")[1] for at, row in enumerate(rows)]
