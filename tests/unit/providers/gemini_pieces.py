"""Bodies and answers of Gemini, by hand."""

from __future__ import annotations

import json

from spillway.core.building import TokensBuilder
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses
from spillway.providers.gemini import GeminiConfig
from spillway.providers.gemini.runner import GeminiWire

USER = ({"role": "user", "content": "hi"},)
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def wire(model="gemini-3.8-flash", **options) -> GeminiWire:
    return GeminiWire(GeminiConfig(**options), model)


def body(*messages, model="gemini-3.8-flash", options=None, **fields) -> dict:
    request = GenerateRequest(messages=messages or USER, **fields)
    return json.loads(wire(model, **(options or {})).encode(request, Losses("gemini"), stream=False)[1])


def whole(body):
    return built(wire().decode(body)[0])


def built(chunks):
    builder = TokensBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build()


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def streamed(*responses):
    stream = wire().open_stream()
    out = []
    stream.take([(None, json.dumps(one).encode()) for one in responses], out)
    return stream, out


def answer(*parts, finish="STOP", **more):
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}], **more}
