"""Bodies out of and answers into Anthropic's wire, for the tests of it."""

import json

from spillway.core.building import TokensBuilder
from spillway.core.request import GenerateRequest
from spillway.providers.anthropic import AnthropicConfig
from spillway.providers.anthropic.runner import AnthropicWire
from spillway.providers.encoding import Losses

USER = ({"role": "user", "content": "hi"},)
CALL = {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}}


def wire(model="claude-opus-5-5", **options):
    return AnthropicWire(AnthropicConfig(**options), model)


def body(*messages, stream=False, options=None, model="claude-opus-5-5", losses=None, **fields):
    """The body of a request, as what its JSON means."""
    request = GenerateRequest(messages=messages or USER, **fields)
    losses = losses or Losses("anthropic")
    return json.loads(wire(model, **(options or {})).encode(request, losses, stream=stream)[1])


def leniently(*messages, **fields):
    """The body of a request, and what was left out of it."""
    losses = Losses("anthropic", lenient=True)
    return body(*messages, losses=losses, **fields), losses.warnings


def built(chunks):
    builder = TokensBuilder()
    for chunk in chunks:
        builder.add(chunk)
    return builder.build()


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def whole(message):
    """The answer that a whole message is."""
    return built(wire().decode(compact(message))[0])


def events(*objects):
    return [(item["type"].encode(), compact(item)) for item in objects]


def taken(*objects):
    """A stream that took events one by one, and the chunks it made of them."""
    stream = wire().open_stream()
    out = []
    for event in events(*objects):
        stream.take([event], out)
    return stream, out


def said(role, content, **more):
    return {"role": role, "content": content, **more}


def block(index, **content):
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index, kind, **content):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **content}}


def end(index):
    return {"type": "content_block_stop", "index": index}


def ended(reason="end_turn", **usage):
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


STOP = {"type": "message_stop"}


def starting(**fields):
    message = {"id": "msg_1", "type": "message", "model": "claude-opus-5-5", "content": [], "stop_reason": None}
    return {"type": "message_start", "message": {**message, **fields}}


def streamed(message):
    """The events that a provider streams a whole message in, texts and inputs in pieces of three characters."""
    yield starting(usage={**message.get("usage", {}), "output_tokens": 1})
    for at, own in enumerate(message["content"]):
        yield from _block(at, own)
        yield {"type": "ping"}
    more = {name: message[name] for name in ("stop_sequence", "stop_details", "container") if name in message}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], **more},
        "usage": message.get("usage", {"output_tokens": 0}),
    }
    yield STOP


def _block(at, own):
    pieces = []
    if own["type"] == "text":
        opened = {**own, "text": ""} | ({"citations": []} if own.get("citations") else {})
        pieces += [("text_delta", "text", piece) for piece in _pieces(own["text"])]
        pieces += [("citations_delta", "citation", citation) for citation in own.get("citations") or ()]
    elif own["type"] == "thinking":
        opened = {**own, "thinking": "", "signature": ""}
        pieces += [("thinking_delta", "thinking", piece) for piece in _pieces(own["thinking"])]
        pieces.append(("signature_delta", "signature", own["signature"]))
    elif "input" in own:
        opened = {**own, "input": {}}
        pieces.append(("input_json_delta", "partial_json", ""))
        text = json.dumps(own["input"], separators=(",", ":"))
        pieces += [("input_json_delta", "partial_json", piece) for piece in _pieces(text) if own["input"]]
    else:
        opened = own
    yield block(at, **opened)
    for kind, name, piece in pieces:
        yield delta(at, kind, **{name: piece})
    yield end(at)


def _pieces(text):
    return [text[at : at + 3] for at in range(0, len(text), 3)]
