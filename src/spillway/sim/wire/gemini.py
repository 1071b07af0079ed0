"""Gemini `generateContent`, on AI Studio and on Vertex: streams without a terminator, no rate-limit headers."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask, decode_object
from spillway.sim.limits import Verdict
from spillway.sim.prices import PRICES
from spillway.sim.wire import gemini_ask, gemini_errors
from spillway.sim.wire.dialect import EVENT_STREAM, JSON, Refusal, Route, StreamPlan, Trouble, bearer, json_bytes


class GeminiDialect:
    """AI Studio: `x-goog-api-key` or `?key=`; a stream that fails ends in a raw JSON object outside any event."""

    name = "gemini"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the API key of header or query, else the bearer token."""
        return headers.get("x-goog-api-key", "") or query.get("key", "") or bearer(headers)

    def read(self, raw: bytes, route: Route) -> Ask:
        """Read a request; raises `BadAsk`."""
        return gemini_ask.read(decode_object(raw), route, "gemini")

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a whole response."""
        return json_bytes(_response(ask, answer, _parts(answer), _finish(answer), answer.output_tokens))

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write a response for each piece; a call comes whole. Without `alt=sse` they make up one JSON array."""
        responses: list[bytes] = [
            json_bytes(_response(ask, answer, [{"text": piece, "thought": True}], None, at))
            for at, piece in enumerate(answer.thought, 1)
        ]
        if answer.call is not None:
            responses.append(json_bytes(_response(ask, answer, _parts(answer)[-1:], None, answer.output_tokens)))
        else:
            done = len(answer.thought)
            responses += [
                json_bytes(_response(ask, answer, [{"text": piece}], None, done + at))
                for at, piece in enumerate(answer.pieces, 1)
            ]
        last = json_bytes(_response(ask, answer, [{"text": ""}], _finish(answer), answer.output_tokens))
        if ask.as_events:
            return StreamPlan(head=[], body=[_event(one) for one in responses], tail=[_event(last)])
        body = [one + b"\r\n,\r\n" for one in responses]
        return StreamPlan(head=[b"["], body=body, tail=[last + b"\r\n]\r\n"], content_type=JSON)

    def headers(
        self, request_id: str, ask: Ask, answer: Answer, verdict: Verdict | None, wall: datetime
    ) -> dict[str, str]:
        """Return what little there is: nothing about limits."""
        del request_id, ask, answer, verdict, wall
        return {"server-timing": "gfet4t7; dur=1"}

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Write `{"error": {code, message, status, details}}`; a filtered prompt is an answer without candidates."""
        del request_id, wall
        if trouble.kind == "content_filter":
            return self._filtered(trouble)
        return gemini_errors.refusal(trouble, vertex=False)

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return a raw JSON object, pretty-printed, that is no event."""
        del request_id
        return [msgspec.json.format(json_bytes(gemini_errors.unavailable()), indent=2) + b"\r\n"]

    def other(self, raw: bytes, route: Route) -> tuple[Ask, bytes]:
        """Answer a token count or an embeddings request."""
        body = decode_object(raw)
        if route.action == "count":
            ask = gemini_ask.read(body, route, "gemini")
            return ask, json_bytes({"totalTokens": ask.input_tokens})
        return gemini_ask.embed(body, route)

    def models(self) -> bytes:
        """List the models that have a price."""
        names = [model for model in PRICES if model.startswith("gemini-")]
        return json_bytes({"models": [{"name": f"models/{name}", "displayName": name} for name in names]})

    def _filtered(self, trouble: Trouble) -> Refusal:
        body = json_bytes(
            {
                "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []},
                "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1},
                "modelVersion": trouble.model,
            }
        )
        if trouble.stream:
            return Refusal(status=200, body=_event(body), content_type=EVENT_STREAM)
        return Refusal(status=200, body=body)


class VertexDialect(GeminiDialect):
    """Vertex: bearer tokens; refusals mostly without details; a stream that fails carries the error as an event."""

    name = "vertex"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the access token, else the API key of express mode."""
        del query
        return bearer(headers) or headers.get("x-goog-api-key", "")

    def refusal(self, trouble: Trouble, request_id: str, wall: datetime) -> Refusal:
        """Write a refusal in Vertex's words."""
        del request_id, wall
        if trouble.kind == "content_filter":
            return self._filtered(trouble)
        return gemini_errors.refusal(trouble, vertex=True)

    def error_frames(self, request_id: str) -> list[bytes]:
        """Return the error as an event."""
        del request_id
        return [_event(json_bytes(gemini_errors.unavailable()))]


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\r\n\r\n"


def _finish(answer: Answer) -> str:
    return "MAX_TOKENS" if answer.finish == "length" else "STOP"


def _parts(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if answer.thought:
        parts.append({"text": "".join(answer.thought), "thought": True})
    if answer.call is not None:
        call = {"name": answer.call.name, "args": msgspec.Raw(answer.call.arguments)}
        parts.append({"functionCall": call, "thoughtSignature": base64.b64encode(answer.digest).decode()})
    elif answer.pieces:
        parts.append({"text": answer.text})
    return parts


def _response(
    ask: Ask, answer: Answer, parts: list[dict[str, Any]], finish: str | None, output_tokens: int
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    thoughts = min(len(answer.thought), output_tokens)
    usage = {
        "promptTokenCount": answer.input_tokens,
        "candidatesTokenCount": output_tokens - thoughts,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": answer.input_tokens + output_tokens,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": {name: count for name, count in usage.items() if count},
        "modelVersion": ask.model,
        "responseId": answer.digest.hex(),
    }
