"""What the tests of Anthropic's door send, and what Anthropic's runtime makes of it."""

import msgspec

from spillway.providers.anthropic.body import encode_messages
from spillway.providers.anthropic.config import SAMPLING_VERSION, AnthropicConfig
from spillway.providers.encoding import Losses, encode_body

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of one pixel."""


def user(text):
    """A user's message."""
    return {"role": "user", "content": text}


def again(asked):
    """The body that Anthropic's runtime makes of a request that a door read from one, without the body itself."""
    request = msgspec.structs.replace(asked.request, native=None)
    config = AnthropicConfig(anthropic_version=SAMPLING_VERSION)
    losses = Losses("anthropic")
    body = encode_messages(request, losses, model=asked.model or "", stream=asked.stream, config=config)
    assert losses.warnings == []
    return msgspec.json.decode(encode_body(body))


def added_up(data):
    """The message that a client makes of a stream's bytes, by the rules of the provider's guide."""
    message, parts = None, {}
    for frame in data.decode().split("\n\n"):
        name, _, rest = frame.partition("\n")
        if not rest:
            continue
        told = msgspec.json.decode(rest.removeprefix("data: "))
        assert name == f"event: {told['type']}"
        kind = told["type"]
        if kind == "message_start":
            message = told["message"]
        elif kind == "content_block_start":
            assert told["index"] == len(message["content"])
            assert not parts
            message["content"].append(told["content_block"])
            parts["open"] = []
        elif kind == "content_block_delta":
            _add(message["content"][told["index"]], told["delta"], parts["open"])
        elif kind == "content_block_stop":
            written = "".join(parts.pop("open"))
            if written:
                message["content"][-1]["input"] = msgspec.json.decode(written)
        elif kind == "message_delta":
            message.update(told["delta"], usage={**message["usage"], **told["usage"]})
    assert name == "" and not parts
    return message


def _add(block, delta, written):
    kind = delta["type"].removesuffix("_delta")
    if kind == "input_json":
        written.append(delta["partial_json"])
    else:
        block[kind] += delta[kind]
