"""What the tests of OpenAI's wires have in common: wires, bodies, answers put together."""

from __future__ import annotations

import json

from spillway.core.building import TokensBuilder
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses
from spillway.providers.openai import OpenAiConfig
from spillway.providers.openai.runner import OpenAiWire

USER = ({"role": "user", "content": "hi"},)


def wire(model="gpt-6-luna", **options) -> OpenAiWire:
    return OpenAiWire(OpenAiConfig(**options), model)


def body(request: GenerateRequest, *, stream=False, losses=None, **options) -> dict:
    return json.loads(wire(**options).encode(request, losses or Losses("openai"), stream=stream)[1])


def built(chunks):
    builder = TokensBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build()


def whole(body, **options):
    return built(wire(**options).decode(body)[0])


def streamed(*datas: str, name: bytes | None = None, **options):
    stream = wire(**options).open_stream()
    out = []
    stream.take([(name, data.encode()) for data in datas], out)
    return stream, out


def completion(message: dict, finish="stop", **more) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "logprobs": None, "message": {"role": "assistant", **message}}
    return json.dumps({"id": "chatcmpl-x", "object": "chat.completion", "choices": [choice], **more}).encode()


CHUNK = '{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":%s,"finish_reason":%s}],"usage":null}'


def chunk(delta: str, finish: str = "null") -> str:
    return CHUNK % (delta, finish)
