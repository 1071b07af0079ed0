"""Anthropic Messages: named events, cumulative usage, RFC 3339 resets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask, BadAsk, decode_object
from spillway.sim.limits import Verdict
from spillway.sim.prices import PRICES
from spillway.sim.wire import anthropic_ask, anthropic_errors
from spillway.sim.wire.anthropic_ask import AnthropicAsk
from spillway.sim.wire.anthropic_blocks import ends_as, parts_of
from spillway.sim.wire.dialect import Refusal, Route, StreamPlan, Trouble, bearer, json_bytes, named_sse

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
        return anthropic_ask.read(decode_object(raw), self.name, variant=route.variant)

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a message."""
        asked = cast("AnthropicAsk", ask)
        whole = _message(asked, answer, [part.whole for part in parts_of(asked, answer)], answer.output_tokens)
        return json_bytes({**whole, **_end(asked, answer), "container": asked.container})

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write the events of a message; each delta that is output is an entry of the body."""
        asked = cast("AnthropicAsk", ask)
        start = {"type": "message_start", "message": _message(asked, answer, [], 1)}
        head = [named_sse("message_start", start)]
        body: list[bytes] = []

        def add(frame: bytes) -> None:
            if body:
                body[-1] += frame
            else:
                head.append(frame)

        parts = parts_of(asked, answer)
        for index, part in enumerate(parts):
            add(_start(index, part.begin))
            if not index:
                head.append(_PING)
            body += [_delta(index, delta) for delta in part.deltas]
            for delta in part.closing:
                add(_delta(index, delta))
            if index < len(parts) - 1:
                add(_stop(index))
        tail = [_stop(len(parts) - 1)] if parts else []
        tail.append(_message_delta(asked, answer))
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
            + named_sse("message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 0}})
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
        for name in sorted(anthropic_ask.NOT_COUNTED & body.keys()):
            raise BadAsk(f"{name}: Extra inputs are not permitted")
        ask = anthropic_ask.read(body, self.name, variant=route.variant, counts=True)
        return ask, json_bytes({"input_tokens": ask.input_tokens})

    def models(self) -> bytes:
        """List the models that have a price."""
        names = [model for model in PRICES if model.startswith("claude-")]
        rows = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in names
        ]
        return json_bytes({"data": rows, "has_more": False, "first_id": names[0], "last_id": names[-1]})


def _message(ask: AnthropicAsk, answer: Answer, content: list[dict[str, Any]], output_tokens: int) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.digest.hex()[:24]}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": _usage(ask, answer, output_tokens),
    }


def _usage(ask: AnthropicAsk, answer: Answer, output_tokens: int) -> dict[str, Any]:
    cached = ask.cached
    usage: dict[str, Any] = {
        "input_tokens": answer.input_tokens - cached.read - cached.written,
        "cache_creation_input_tokens": cached.written,
        "cache_read_input_tokens": cached.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": cached.five_minutes,
            "ephemeral_1h_input_tokens": cached.hour,
        },
        "output_tokens": output_tokens,
        **_output_details(ask, answer),
        "service_tier": "standard",
        "speed": ask.speed,
    }
    if ask.inference_geo is not None:
        usage["inference_geo"] = ask.inference_geo
    return usage


def _output_details(ask: AnthropicAsk, answer: Answer) -> dict[str, Any]:
    searches = int(ask.searches and ends_as(ask, answer) != "pause_turn")
    return {
        "output_tokens_details": {"thinking_tokens": len(answer.thought)},
        "server_tool_use": {"web_search_requests": searches, "web_fetch_requests": 0},
    }


def _end(ask: AnthropicAsk, answer: Answer) -> dict[str, Any]:
    """Return why an answer ended."""
    reason = ends_as(ask, answer)
    details = {"type": "refusal", "category": "cyber", "explanation": "simulated"} if reason == "refusal" else None
    return {"stop_reason": reason, "stop_sequence": answer.stop_sequence, "stop_details": details}


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


def _message_delta(ask: AnthropicAsk, answer: Answer) -> bytes:
    delta = {**_end(ask, answer), "container": ask.container}
    usage = {"output_tokens": answer.output_tokens, **_output_details(ask, answer)}
    return named_sse("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})
