"""The `anthropic` package as a client of a gateway; it validates every answer strictly, and retries as it does."""

import time

import anthropic
import judge
import pydantic

TOOL = {
    "name": "weather",
    "description": "Tells the weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}
QUESTION = [{"role": "user", "content": "call weather"}]


class City(pydantic.BaseModel):
    city: str
    days: int


def client_of(order, **options):
    options = {"api_key": order["key"], **options}
    return anthropic.Anthropic(base_url=order["url"], _strict_response_validation=True, **options)


def said(message):
    return {
        "blocks": [block.type for block in message.content],
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "thinking": "".join(block.thinking for block in message.content if block.type == "thinking"),
        "signed": all(block.signature for block in message.content if block.type == "thinking"),
        "calls": [[block.id, block.name, block.input] for block in message.content if block.type == "tool_use"],
        "stop": message.stop_reason,
        "model": message.model,
        "usage": [message.usage.input_tokens, message.usage.output_tokens],
    }


def asked_of(case):
    return {"max_tokens": 4096, "messages": [{"role": "user", "content": "Say hello"}], **case["asked"]}


def create(order, case):
    with client_of(order) as client:
        raw = client.messages.with_raw_response.create(**asked_of(case))
        message = raw.parse()
        return {**said(message), "headers": dict(raw.headers), "request_id": message._request_id}


def bearer(order, case):
    with client_of(order, api_key=None, auth_token=order["key"]) as client:
        return said(client.messages.create(**asked_of(case)))


def beta(order, case):
    """The way of coding agents: `?beta=true`, a list of betas, a field that only they know."""
    edits = [{"type": "clear_tool_uses_20250919"}]
    asked = {**asked_of(case), "betas": ["context-management-2025-06-27"], "context_management": {"edits": edits}}
    with client_of(order) as client, client.beta.messages.stream(**asked) as answer:
        return said(answer.get_final_message())


def stream(order, case):
    with client_of(order) as client, client.messages.stream(**asked_of(case)) as answer:
        heard = []
        for event in answer:
            heard.append(event.type)
        return {**said(answer.get_final_message()), "events": heard}


def text_stream(order, case):
    with client_of(order) as client, client.messages.stream(**asked_of(case)) as answer:
        pieces = list(answer.text_stream)
        return {**said(answer.get_final_message()), "pieces": "".join(pieces)}


def raw_stream(order, case):
    with client_of(order) as client:
        return {"events": [event.type for event in client.messages.create(**asked_of(case), stream=True)]}


def tools(order, case):
    """One round: a call, its result and the answer to that; whole or streamed."""
    asked = {**asked_of(case), "tools": [TOOL], "messages": QUESTION}
    with client_of(order) as client:
        if case.get("stream"):
            with client.messages.stream(**asked, tool_choice={"type": "any"}) as answer:
                first = answer.get_final_message()
        else:
            first = client.messages.create(**asked, tool_choice={"type": "any"})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "sunny"}]}
            for block in first.content
            if block.type == "tool_use"
        ]
        turns = [*QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        last = client.messages.create(**{**asked, "messages": turns}, tool_choice={"type": "none"})
        return {"first": said(first), "last": said(last)}


def parse(order, case):
    with client_of(order) as client:
        message = client.messages.parse(**asked_of(case), output_format=City)
        return {"parsed": [type(message.parsed_output.city).__name__, type(message.parsed_output.days).__name__]}


def count(order, case):
    asked = {name: value for name, value in asked_of(case).items() if name != "max_tokens"}
    with client_of(order) as client:
        return {"counted": client.messages.count_tokens(**asked).input_tokens}


def fails(order, case):
    """What an error is to the client, and how long it took to give up."""
    began = time.monotonic()
    options = {"api_key": case["key"]} if "key" in case else {}
    with client_of(order, **options) as client:
        try:
            if case.get("counts"):
                count(order, case)
            elif case.get("stream"):
                with client.messages.stream(**asked_of(case)) as answer:
                    list(answer)
            else:
                client.messages.create(**asked_of(case))
        except anthropic.APIStatusError as error:
            body = error.body if isinstance(error.body, dict) else {}
            return {
                "class": type(error).__name__,
                "status": error.status_code,
                "body": body,
                "request_id": error.request_id,
                "headers": dict(error.response.headers),
                "elapsed_s": time.monotonic() - began,
            }
    return {"class": None}


doors = (create, bearer, beta, stream, text_stream, raw_stream, tools, parse, count, fails)
judge.run({door.__name__: door for door in doors})
