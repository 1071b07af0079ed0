"""OpenAI Chat Completions, the shape that Azure and LiteLLM share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from spillway.sim.answers import Answer
from spillway.sim.ask import (
    MEDIA_TOKENS,
    Ask,
    BadAsk,
    Tool,
    decode_object,
    fingerprint,
    json_tokens,
    stop_list,
    text_tokens,
    whole_number,
)
from spillway.sim.limits import Verdict
from spillway.sim.wire import openai_errors, openai_other
from spillway.sim.wire.dialect import Refusal, Route, StreamPlan, Trouble, bearer, created, json_bytes, sse

_NOT_DECIDING = frozenset(
    {
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "user",
        "metadata",
        "safety_identifier",
        "store",
    }
)

DONE = b"data: [DONE]\n\n"


class OpenAiDialect:
    """The provider itself: bearer keys, Go durations in rate-limit headers, `[DONE]` at the end."""

    name = "openai"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the bearer token."""
        del query
        return bearer(headers)

    def read(self, raw: bytes, route: Route) -> Ask:
        """Read a chat completion request; raises `BadAsk`."""
        body = decode_object(raw)
        model = route.model or body.get("model")
        if not isinstance(model, str) or not model:
            raise BadAsk("you must provide a model parameter", param="model")
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise BadAsk("Missing required parameter: 'messages'.", param="messages")
        tokens, last_user, last_role = _weigh(messages)
        tools = _tools(body.get("tools"))
        if body.get("tools"):
            tokens += json_tokens(body["tools"])
        forced, by_name = _forced(body.get("tool_choice"), tools)
        options = body.get("stream_options")
        effort = body.get("reasoning_effort")
        return Ask(
            model=model,
            fingerprint=fingerprint(
                self.name, model, {key: value for key, value in body.items() if key not in _NOT_DECIDING}
            ),
            input_tokens=tokens,
            last_user=last_user,
            after_tool=last_role == "tool",
            stream=body.get("stream") is True,
            include_usage=isinstance(options, dict) and options.get("include_usage") is True,
            max_output=whole_number(body, "max_completion_tokens") or whole_number(body, "max_tokens"),
            stop=stop_list(body.get("stop")),
            tools=tools if body.get("tool_choice") != "none" else (),
            forced_tool=forced,
            forced_by_name=by_name,
            json_schema=_json_schema(body.get("response_format")),
            thinking=isinstance(effort, str) and effort != "none",
        )

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a `chat.completion`."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if answer.call else answer.text,
            "refusal": None,
            "annotations": [],
        }
        if answer.call is not None:
            function = {"name": answer.call.name, "arguments": answer.call.arguments.decode()}
            message["tool_calls"] = [{"id": call_id(answer), "type": "function", "function": function}]
        return json_bytes(
            {
                **envelope(ask, answer, "chat.completion"),
                "choices": [
                    {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(ask, answer)}
                ],
                "usage": usage(answer),
            }
        )

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write `chat.completion.chunk`s: role, one for each piece, finish, usage if asked for, `[DONE]`."""
        opened = json_bytes(envelope(ask, answer, "chat.completion.chunk"))[:-1]
        before = b"data: " + opened + b',"choices":[{"index":0,"delta":'
        no_usage = b',"usage":null' if ask.include_usage else b""
        after = b',"logprobs":null,"finish_reason":null}]' + no_usage + b"}\n\n"
        finish = json_bytes(finish_reason(ask, answer))
        tail = [before + b'{},"logprobs":null,"finish_reason":' + finish + b"}]" + no_usage + b"}\n\n"]
        if ask.include_usage:
            tail.append(b"data: " + opened + b',"choices":[],"usage":' + json_bytes(usage(answer)) + b"}\n\n")
        tail.append(DONE)
        role = b'{"role":"assistant","content":' + (b"null" if answer.call else b'""') + b',"refusal":null}'
        head = [before + role + after]
        if answer.call is None:
            body = [before + b'{"content":' + json_bytes(piece) + b"}" + after for piece in answer.pieces]
            return StreamPlan(head=head, body=body, tail=tail)
        function = {"name": answer.call.name, "arguments": ""}
        opening = {"tool_calls": [{"index": 0, "id": call_id(answer), "type": "function", "function": function}]}
        deltas: list[Any] = [opening]
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in answer.pieces]
        return StreamPlan(head=head, body=[before + json_bytes(delta) + after for delta in deltas], tail=tail)

    def headers(
        self, request_id: str, ask: Ask, answer: Answer, verdict: Verdict | None, wall: datetime
    ) -> dict[str, str]:
        """Return the request id, the organisation and the state of the limits."""
        del ask, answer, wall
        return {
            "x-request-id": request_id,
            "openai-organization": "org-simulated",
            "openai-processing-ms": "1",
            "openai-version": "2020-10-01",
            **openai_errors.limit_headers(verdict, openai_errors.go_duration),
        }

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Write `{"error": {message, type, param, code}}`."""
        del wall
        return openai_errors.refusal(trouble, request_id)

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return an error object as data; the stream then ends without `[DONE]`."""
        del request_id
        return [sse(openai_errors.server_error())]

    def other(self, raw: bytes, route: Route) -> tuple[Ask, bytes]:
        """Answer an embeddings request."""
        return openai_other.embeddings(self.name, raw, route)

    def models(self) -> bytes:
        """List the models that have a price."""
        return openai_other.models()


def envelope(ask: Ask, answer: Answer, kind: str) -> dict[str, Any]:
    """Return what every chunk of an answer, and the whole of it, begin with."""
    return {
        "id": f"chatcmpl-{answer.digest.hex()}",
        "object": kind,
        "created": created(answer),
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def call_id(answer: Answer) -> str:
    """Return the id of the answer's tool call."""
    return f"call_{answer.digest.hex()[:24]}"


def finish_reason(ask: Ask, answer: Answer) -> str:
    """Return the finish reason; a call forced by its name finishes with `stop`, as the provider does."""
    if answer.finish == "tool":
        return "stop" if ask.forced_by_name else "tool_calls"
    return "length" if answer.finish == "length" else "stop"


def usage(answer: Answer) -> dict[str, Any]:
    """Return the usage; reasoning is part of the completion tokens."""
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": len(answer.thought),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _weigh(messages: list[Any]) -> tuple[int, str, str]:
    tokens, last_user, role = 0, "", ""
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadAsk(f"Invalid type for 'messages[{at}]': expected an object with a role.", param=f"messages[{at}]")
        role = message["role"]
        content = message.get("content")
        if isinstance(content, str):
            text, media = content, 0
        elif isinstance(content, list):
            parts = [part for part in content if isinstance(part, dict)]
            text = "".join(str(part.get("text") or "") for part in parts)
            media = sum(part.get("type") not in {"text", "refusal"} for part in parts)
        elif content is None and role == "assistant":
            text, media = "", 0
        else:
            raise BadAsk(
                f"Invalid type for 'messages[{at}].content': expected a string or an array.",
                param=f"messages[{at}].content",
            )
        tokens += text_tokens(text) + media * MEDIA_TOKENS
        if message.get("tool_calls"):
            tokens += json_tokens(message["tool_calls"])
        if role == "user":
            last_user = text
    return tokens, last_user, role


def _tools(tools: object) -> tuple[Tool, ...]:
    found: list[Tool] = []
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found.append(Tool(function["name"], schema if isinstance(schema, dict) else {"type": "object"}))
    return tuple(found)


def _forced(choice: object, tools: tuple[Tool, ...]) -> tuple[str | None, bool]:
    if choice == "required" and tools:
        return tools[0].name, False
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return str(choice["function"].get("name")), True
    return None, False


def _json_schema(response_format: object) -> Mapping[str, Any] | None:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}}
    named = response_format.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) else None
    return schema if isinstance(schema, dict) else None
