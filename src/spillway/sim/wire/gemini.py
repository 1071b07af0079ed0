"""Gemini `generateContent`, on AI Studio and on Vertex: streams without a terminator, no rate-limit headers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from spillway.sim.answers import Answer, compose
from spillway.sim.ask import Ask, decode_object
from spillway.sim.limits import Verdict
from spillway.sim.prices import PRICES
from spillway.sim.wire import gemini_answer, gemini_ask, gemini_embed, gemini_errors
from spillway.sim.wire.camel import in_camel_case
from spillway.sim.wire.dialect import EVENT_STREAM, JSON, Refusal, Route, StreamPlan, Trouble, bearer, json_bytes
from spillway.sim.wire.gemini_answer import GeminiAnswer
from spillway.sim.wire.gemini_ask import GeminiAsk


class GeminiDialect:
    """AI Studio: `x-goog-api-key` or `?key=`; a stream that fails ends in a raw JSON object outside any event."""

    name = "gemini"

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the API key of header or query, else the bearer token."""
        return headers.get("x-goog-api-key", "") or query.get("key", "") or bearer(headers)

    def read(self, raw: bytes, route: Route) -> GeminiAsk:
        """Read a request; raises `BadAsk`."""
        return gemini_ask.read(in_camel_case(decode_object(raw)), route, self.name)

    def compose(self, seed: int, ask: Ask) -> Answer:
        """Return the answer, with all its candidates and calls."""
        return gemini_answer.compose(seed, ask) if isinstance(ask, GeminiAsk) else compose(seed, ask)

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a whole response."""
        mine, said = _own(ask, answer)
        candidates = []
        for index, one in enumerate(gemini_answer.candidates(said)):
            parts = gemini_answer.whole_parts(mine, one)
            tokens = [] if one.call is not None else list(enumerate(one.pieces))
            candidates.append(
                _candidate(index, parts, _finish(one))
                | gemini_answer.logprobs(mine, one, tokens)
                | gemini_answer.grounding(mine, one)
            )
        return json_bytes(_response(ask, answer, candidates, answer.output_tokens))

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write a response for each piece; a call comes whole. Without `alt=sse` they make up one JSON array."""
        mine, said = _own(ask, answer)
        responses: list[bytes] = []
        last: list[bytes] = []
        for index, one in enumerate(gemini_answer.candidates(said)):
            at = 0
            for parts, token in gemini_answer.pieces(mine, one):
                candidate = _candidate(index, parts, None)
                if token is not None:
                    candidate |= gemini_answer.logprobs(mine, one, [(at, token)])
                    at += 1
                sent = min(len(responses) + 1, answer.output_tokens)
                responses.append(json_bytes(_response(ask, answer, [candidate], sent)))
            ending = _candidate(index, gemini_answer.last_parts(mine, one), _finish(one))
            ending |= gemini_answer.grounding(mine, one)
            last.append(json_bytes(_response(ask, answer, [ending], answer.output_tokens)))
        if ask.as_events:
            return StreamPlan(head=[], body=[_event(one) for one in responses], tail=[_event(one) for one in last])
        body = [one + b"\r\n,\r\n" for one in responses]
        return StreamPlan(head=[b"["], body=body, tail=[b"\r\n,\r\n".join(last) + b"\r\n]\r\n"], content_type=JSON)

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
        body = in_camel_case(decode_object(raw))
        return (
            gemini_embed.count(body, route, self.name) if route.action == "count" else gemini_embed.embed(body, route)
        )

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


def _own(ask: Ask, answer: Answer) -> tuple[GeminiAsk, GeminiAnswer]:
    if not isinstance(ask, GeminiAsk) or not isinstance(answer, GeminiAnswer):
        raise TypeError("not of this dialect")
    return ask, answer


def _candidate(index: int, parts: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": index}
    if finish is not None:
        candidate["finishReason"] = finish
    return candidate


def _response(ask: Ask, answer: Answer, candidates: list[dict[str, Any]], output_tokens: int) -> dict[str, Any]:
    _, said = _own(ask, answer)
    thoughts = min(sum(len(one.thought) for one in gemini_answer.candidates(said)), output_tokens)
    usage = {
        "promptTokenCount": answer.input_tokens,
        "candidatesTokenCount": output_tokens - thoughts,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": answer.input_tokens + output_tokens,
    }
    return {
        "candidates": candidates,
        "usageMetadata": {name: count for name, count in usage.items() if count},
        "modelVersion": ask.model,
        "responseId": answer.digest.hex(),
    }
