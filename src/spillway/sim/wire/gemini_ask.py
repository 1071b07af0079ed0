"""How Gemini's requests are read, and its embeddings answered."""

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
from spillway.sim.wire.dialect import Route, json_bytes
from spillway.sim.wire.openai_other import DIMENSIONS, vector


def read(body: Mapping[str, Any], route: Route, dialect: str) -> Ask:
    """Read a `generateContent` request; raises `BadAsk`."""
    model = route.model or ""
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise BadAsk("* GenerateContentRequest.contents: contents is not specified")
    system = body.get("systemInstruction") or body.get("system_instruction")
    tokens = _weigh(system, "systemInstruction")[0] if system else 0
    last_user, after_tool = "", False
    for at, content in enumerate(contents):
        weight, text, after_tool = _weigh(content, f"contents[{at}]")
        tokens += weight
        role = content.get("role", "user")
        if role not in {"user", "model", "function"}:
            raise BadAsk("Please use a valid role: user, model.")
        if role == "user" and text:
            last_user = text
    tools = _tools(body.get("tools"))
    if tools:
        tokens += json_tokens(body["tools"])
    generation = body.get("generationConfig") or body.get("generation_config") or {}
    if not isinstance(generation, dict):
        raise BadAsk("Invalid value at 'generation_config'")
    forced, called = _forced(body.get("toolConfig") or body.get("tool_config"), tools)
    thinking = generation.get("thinkingConfig")
    deciding = {key: value for key, value in generation.items() if key != "maxOutputTokens"}
    return Ask(
        model=model,
        fingerprint=fingerprint(dialect, model, {**body, "generationConfig": deciding}),
        input_tokens=tokens,
        last_user=last_user,
        after_tool=after_tool,
        stream=route.stream is True,
        as_events=route.variant == "sse",
        max_output=whole_number(generation, "maxOutputTokens"),
        stop=stop_list(generation.get("stopSequences")),
        tools=called,
        forced_tool=forced,
        json_schema=_json_schema(generation),
        thinking=isinstance(thinking, dict) and thinking.get("includeThoughts") is True,
    )


def embed(body: Mapping[str, Any], route: Route) -> tuple[Ask, bytes]:
    """Answer `:embedContent`, `:batchEmbedContents` or Vertex's `:predict`, as the route's variant says."""
    model = route.model or ""
    rows, sizes, texts, tokens = _embed_rows(body, route), [], [], 0
    for at, (content, size) in enumerate(rows):
        weight, text, _ = _weigh(content, f"requests[{at}].content")
        texts.append(text)
        sizes.append(size or DIMENSIONS)
        tokens += weight
    vectors = [vector(model, text, size) for text, size in zip(texts, sizes, strict=True)]
    ask = Ask(model=model, fingerprint=fingerprint("gemini", model, body), input_tokens=tokens, last_user=texts[-1])
    usage = {"promptTokenCount": tokens}
    if route.variant == "embedContent":
        return ask, json_bytes({"embedding": {"values": vectors[0]}, "usageMetadata": usage})
    if route.variant == "batchEmbedContents":
        return ask, json_bytes({"embeddings": [{"values": one} for one in vectors], "usageMetadata": usage})
    counts = [{"token_count": text_tokens(text), "truncated": False} for text in texts]
    shown = [{"embeddings": {"values": one, "statistics": count}} for one, count in zip(vectors, counts, strict=True)]
    return ask, json_bytes({"predictions": shown})


def _embed_rows(body: Mapping[str, Any], route: Route) -> list[tuple[object, int | None]]:
    if route.variant == "embedContent":
        return [(body.get("content"), whole_number(body, "outputDimensionality"))]
    name = "requests" if route.variant == "batchEmbedContents" else "instances"
    rows = body.get(name)
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise BadAsk(f"* {name}: at least one is required")
    if name == "requests":
        return [(row.get("content"), whole_number(row, "outputDimensionality")) for row in rows]
    parameters = body.get("parameters")
    size = whole_number(parameters, "outputDimensionality") if isinstance(parameters, dict) else None
    return [({"parts": [{"text": str(row.get("content", ""))}]}, size) for row in rows]


def _weigh(content: object, where: str) -> tuple[int, str, bool]:
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise BadAsk(f"Invalid value at '{where}': parts must be a list of objects")
    tokens, texts, answered = 0, [], False
    for part in parts:
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
            tokens += text_tokens(part["text"])
        elif "functionResponse" in part or "functionCall" in part:
            answered = answered or "functionResponse" in part
            tokens += json_tokens(part)
        else:
            tokens += MEDIA_TOKENS
    return tokens, "".join(texts), answered


def _tools(tools: object) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for group in tools if isinstance(tools, list) else ():
        declared = group.get("functionDeclarations") if isinstance(group, dict) else None
        for function in declared if isinstance(declared, list) else ():
            if isinstance(function, dict) and isinstance(function.get("name"), str):
                schema = function.get("parametersJsonSchema") or function.get("parameters")
                found.append(Tool(function["name"], schema if isinstance(schema, dict) else {"type": "object"}))
    return tuple(found)


def _forced(config: object, tools: tuple[Tool, ...]) -> tuple[str | None, tuple[Tool, ...]]:
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    mode = str(calling.get("mode", "AUTO")) if isinstance(calling, dict) else "AUTO"
    if mode == "NONE":
        return None, ()
    if mode != "ANY" or not tools or not isinstance(calling, dict):
        return None, tools
    names = calling.get("allowedFunctionNames")
    return (str(names[0]) if isinstance(names, list) and names else tools[0].name), tools


def _json_schema(generation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    schema = generation.get("responseJsonSchema") or generation.get("responseSchema")
    if isinstance(schema, dict):
        return schema
    if generation.get("responseMimeType") == "application/json":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    return None
