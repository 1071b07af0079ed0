"""Schemas of bodies: what the gateway reads of a request and promises of an answer; the provider's own is open."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_NULL_TEXT = {"type": ["string", "null"]}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 2**53}
_LIMIT = {"type": ["integer", "null"], "minimum": 1, "maximum": 10**12}
_WHILE = {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 604_800}
_OPEN = {"type": "object", "additionalProperties": True}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": True}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {**_object(required, **properties), "additionalProperties": False}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, **({"minItems": least} if least else {})}


_CONTENT = {"oneOf": [_TEXT, _list(_object(["type"], type=_TEXT), 1)]}
_MODEL = {"type": "string", "minLength": 1, "maxLength": 512, "description": "a deployment or a group"}
_TOOLS = {"tools": _list(_OPEN), "stream": {"type": "boolean"}}
_INPUT = {"oneOf": [{"type": "string", "minLength": 1}, _list({"type": "string", "minLength": 1}, 1)]}

SCHEMAS: dict[str, Any] = {
    "Object": _OPEN,
    "Status": _object(["status"], status=_TEXT),
    "ChatMessage": _object(
        ["role", "content"], role={"enum": ["system", "developer", "user", "assistant"]}, content=_CONTENT
    ),
    "ChatRequest": _object(
        ["model", "messages"],
        model=_MODEL,
        messages=_list(_ref("ChatMessage"), 1),
        max_tokens=_COUNT,
        max_completion_tokens=_COUNT,
        temperature={"type": "number", "minimum": 0, "maximum": 2},
        top_p={"type": "number", "minimum": 0, "maximum": 1},
        stop={"oneOf": [_TEXT, _list(_TEXT)]},
        seed={"type": "integer"},
        tool_choice={"oneOf": [_TEXT, _OPEN]},
        response_format=_OPEN,
        reasoning_effort=_TEXT,
        stream_options=_object([], include_usage={"type": "boolean"}),
        **_TOOLS,
    ),
    "Usage": _object(
        ["prompt_tokens", "completion_tokens", "total_tokens"],
        prompt_tokens={"type": "integer"},
        completion_tokens={"type": "integer"},
        total_tokens={"type": "integer"},
    ),
    "ChatCompletion": _object(
        ["id", "object", "created", "model", "choices"],
        id=_TEXT,
        object={"const": "chat.completion"},
        created={"type": "integer"},
        model=_TEXT,
        choices=_list(_object(["index", "message", "finish_reason"], message=_OPEN, finish_reason=_NULL_TEXT)),
        usage=_ref("Usage"),
    ),
    "ResponsesRequest": _object(
        ["model", "input"],
        model=_MODEL,
        input={"oneOf": [{"type": "string", "minLength": 1}, _list(_OPEN, 1)]},
        instructions=_NULL_TEXT,
        max_output_tokens=_COUNT,
        **_TOOLS,
    ),
    "EmbeddingsRequest": _object(
        ["model", "input"],
        model=_MODEL,
        input=_INPUT,
        dimensions=_COUNT,
        encoding_format={"enum": ["float", "base64"]},
    ),
    "Embeddings": _object(
        ["object", "data", "model"],
        object={"const": "list"},
        model=_TEXT,
        data=_list(
            _object(
                ["object", "index", "embedding"],
                object={"const": "embedding"},
                index={"type": "integer"},
                embedding={"oneOf": [_TEXT, _list({"type": "number"})]},
            )
        ),
    ),
    "Model": _object(["id", "object"], id=_TEXT, object={"const": "model"}),
    "Models": _object(["object", "data"], object={"const": "list"}, data=_list(_ref("Model"))),
    "AnthropicMessage": _object(["role", "content"], role={"enum": ["user", "assistant"]}, content=_CONTENT),
    "MessagesRequest": _object(
        ["model", "messages", "max_tokens"],
        model=_MODEL,
        messages=_list(_ref("AnthropicMessage"), 1),
        max_tokens=_COUNT,
        system=_CONTENT,
        temperature={"type": "number", "minimum": 0, "maximum": 1},
        **_TOOLS,
    ),
    "Message": _object(
        ["id", "type", "role", "content", "model", "usage"],
        id=_TEXT,
        type={"const": "message"},
        role={"const": "assistant"},
        content=_list(_object(["type"], type=_TEXT)),
        model=_TEXT,
        stop_reason=_NULL_TEXT,
        usage=_OPEN,
    ),
    "CountRequest": _object(["model", "messages"], model=_MODEL, messages=_list(_ref("AnthropicMessage"), 1)),
    "Count": _object(["input_tokens"], input_tokens={"type": "integer", "minimum": 0}),
    "NoOrder": _closed([]),
    "BreakerOrder": _closed(["action"], action={"enum": ["open", "close"]}, for_s=_WHILE),
    "DrainOrder": _closed([], action={"enum": ["drain", "resume"]}),
    "LimitsOrder": _closed(
        [],
        action={"enum": ["set", "reset"]},
        requests_per_minute=_LIMIT,
        tokens_per_minute=_LIMIT,
        input_tokens_per_minute=_LIMIT,
        output_tokens_per_minute=_LIMIT,
        concurrent_requests=_LIMIT,
        for_s=_WHILE,
    ),
    "OpenAIError": _object(
        ["error"],
        error=_object(["message", "type", "code"], message=_TEXT, type=_TEXT, code=_NULL_TEXT, param=_NULL_TEXT),
    ),
    "AnthropicError": _object(
        ["type", "error"],
        type={"const": "error"},
        error=_object(["type", "message"], type=_TEXT, message=_TEXT),
        request_id=_NULL_TEXT,
    ),
}  # fmt: skip
"""Schemas by name, for `#/components/schemas/`."""
