"""Anthropic Messages: named events, cumulative usage, RFC 3339 resets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask, BadAsk, decode_object
from spillway.sim.limits import Verdict
from spillway.sim.prices import PRICES
from spillway.sim.wire import anthropic_ask, anthropic_errors
from spillway.sim.wire.dialect import Refusal, Route, StreamPlan, Trouble, bearer, json_bytes, named_sse

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "stop_sequence": "stop_sequence", "tool": "tool_use"}
_PING = named_sse("ping", {"type": "ping"})


class AnthropicDialect:
    """The provider itself: `x-api-key`, or a bearer token."""

    name = "anthropic"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return `x-api-key`, which wins, else the bearer token."""
        del query
        return headers.get("x-api-key", "") or bearer(headers)

    def read(self, raw: bytes, route: Route) -> Ask:
        """Read a message request; raises `BadAsk`."""
        return anthropic_ask.read(decode_object(raw), self.name, version=route.variant)

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a message."""
        content: list[dict[str, Any]] = []
        if answer.thought:
            content.append(
                {
                    "type": "thinking",
                    "thinking": "".join(answer.thought),
                    "signature": signature(answer),
                }
            )
        if answer.call is not None:
            arguments = msgspec.Raw(answer.call.arguments)
            content.append({"type": "tool_use", "id": call_id(answer), "name": answer.call.name, "input": arguments})
        elif answer.pieces:
            content.append({"type": "text", "text": answer.text, "citations": None})
        whole = _message(ask, answer, content, answer.output_tokens)
        whole["stop_reason"] = _STOP_REASONS[answer.finish]
        whole["stop_sequence"] = answer.stop_sequence
        return json_bytes(whole)

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write the events of a message; thinking, if any, counts as content."""
        start = {"type": "message_start", "message": _message(ask, answer, [], 1)}
        head = [named_sse("message_start", start)]
        body: list[bytes] = []
        index = 0
        if answer.thought:
            head += [_start(0, {"type": "thinking", "thinking": "", "signature": ""}), _PING]
            body += [_delta(0, {"type": "thinking_delta", "thinking": piece}) for piece in answer.thought]
            body[-1] += _delta(0, {"type": "signature_delta", "signature": signature(answer)}) + _stop(0)
            index = 1
        opening = b""
        if answer.call is not None:
            block = {"type": "tool_use", "id": call_id(answer), "name": answer.call.name, "input": {}}
            opening = _start(index, block)
            deltas = [_delta(index, {"type": "input_json_delta", "partial_json": piece}) for piece in answer.pieces]
        else:
            if answer.pieces:
                opening = _start(index, {"type": "text", "text": ""})
            deltas = [_delta(index, {"type": "text_delta", "text": piece}) for piece in answer.pieces]
        if body and deltas:
            body[-1] += opening
        elif opening:
            head += [opening, _PING]
        body += deltas
        delta = {
            "stop_reason": _STOP_REASONS[answer.finish],
            "stop_sequence": answer.stop_sequence,
            "stop_details": None,
        }
        tail = [_stop(index)] if opening else []
        tail.append(_message_delta(delta, answer.output_tokens))
        tail.append(named_sse("message_stop", {"type": "message_stop"}))
        return StreamPlan(head=head, body=body, tail=tail)

    def headers(
        self, request_id: str, ask: Ask, answer: Answer, verdict: Verdict | None, wall: datetime
    ) -> dict[str, str]:
        """Return the request id, the organisation and the state of the limits."""
        del ask, answer
        return {
            "request-id": request_id,
            "anthropic-organization-id": "org-simulated",
            **anthropic_errors.limit_headers(verdict, wall),
        }

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Write `{"type": "error", …}`; a filtered prompt is an answer that ends in `refusal`."""
        if trouble.kind != "content_filter":
            return anthropic_errors.refusal(trouble, request_id, wall)
        details = {"type": "refusal", "category": "general_harms", "explanation": None}
        delta = {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
        message = _refused(trouble.model)
        headers = {"request-id": request_id}
        if not trouble.stream:
            return Refusal(status=200, body=json_bytes({**message, **delta}), headers=headers)
        frames = (
            named_sse("message_start", {"type": "message_start", "message": message})
            + _message_delta(delta, 0)
            + named_sse("message_stop", {"type": "message_stop"})
        )
        return Refusal(status=200, body=frames, headers=headers, content_type="text/event-stream; charset=utf-8")

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return an `error` event; nothing follows it."""
        return [named_sse("error", anthropic_errors.error("overloaded_error", "Overloaded", request_id))]

    def other(self, raw: bytes, route: Route) -> tuple[Ask, bytes]:
        """Answer a token count."""
        if route.action != "count":
            raise BadAsk("there is no such route here")
        body = decode_object(raw)
        ask = anthropic_ask.read({"max_tokens": 1, **body}, self.name, version=route.variant)
        return ask, json_bytes({"input_tokens": ask.input_tokens})

    def models(self) -> bytes:
        """List the models that have a price."""
        names = [model for model in PRICES if model.startswith("claude-")]
        rows = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in names
        ]
        return json_bytes({"data": rows, "has_more": False, "first_id": names[0], "last_id": names[-1]})


def call_id(answer: Answer) -> str:
    """Return the id of the answer's tool call."""
    return f"toolu_{answer.digest.hex()[:24]}"


def signature(answer: Answer) -> str:
    """Return the opaque signature of the answer's thinking."""
    return f"sig{answer.digest.hex()}=="


def _message(ask: Ask, answer: Answer, content: list[dict[str, Any]], output_tokens: int) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.digest.hex()[:24]}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": answer.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output_tokens,
            "output_tokens_details": {"thinking_tokens": len(answer.thought)},
            "service_tier": "standard",
        },
    }


def _refused(model: str) -> dict[str, Any]:
    return {
        "id": "msg_refused",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _start(index: int, block: dict[str, Any]) -> bytes:
    return named_sse("content_block_start", {"type": "content_block_start", "index": index, "content_block": block})


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return named_sse("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})


def _stop(index: int) -> bytes:
    return named_sse("content_block_stop", {"type": "content_block_stop", "index": index})


def _message_delta(delta: dict[str, Any], output_tokens: int) -> bytes:
    event = {"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}}
    return named_sse("message_delta", event)
