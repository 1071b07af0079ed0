"""OpenAI Chat Completions, the shape that Azure and LiteLLM share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import chain, zip_longest
from typing import Any

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask, decode_object
from spillway.sim.limits import Verdict
from spillway.sim.wire import openai_ask, openai_errors, openai_other
from spillway.sim.wire.dialect import Refusal, Route, StreamPlan, Trouble, bearer, created, json_bytes, sse
from spillway.sim.wire.openai_words import call_id, logprob, sound

DONE = b"data: [DONE]\n\n"
_HARMLESS = {
    "type": "moderation_result",
    "model": "omni-moderation-simulated",
    "flagged": False,
    "categories": {"violence": False},
    "category_scores": {"violence": 0.25},
    "category_applied_input_types": {"violence": ["text"]},
}
_RESULTS = {"type": "moderation_results", "model": "omni-moderation-simulated", "results": [_HARMLESS]}
_MODERATION = {"input": _RESULTS, "output": _RESULTS}


class OpenAiDialect:
    """The provider itself: bearer keys, Go durations in rate-limit headers, `[DONE]` at the end.

    Attributes:
        of_choice: what every choice carries beside its message.
    """

    name = "openai"
    of_choice: Mapping[str, Any] = {}

    def key(self, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        """Return the bearer token."""
        del query
        return bearer(headers)

    def read(self, raw: bytes, route: Route) -> Ask:
        """Read a chat completion request; raises `BadAsk`."""
        return openai_ask.read(decode_object(raw), route, self.name)

    def unary(self, ask: Ask, answer: Answer) -> bytes:
        """Write a `chat.completion`."""
        choices = [
            {
                "index": index,
                "message": _message(ask, each),
                "logprobs": _logprobs(ask, each, each.pieces) if each.call is None else None,
                "finish_reason": finish_reason(ask, each),
                **self.of_choice,
            }
            for index, each in enumerate(answer.all)
        ]
        body = {**envelope(ask, answer, "chat.completion"), "choices": choices, "usage": usage(ask, answer)}
        if "moderation" in ask.wants:
            body["moderation"] = _MODERATION
        return json_bytes(body)

    def stream(self, ask: Ask, answer: Answer) -> StreamPlan:
        """Write `chat.completion.chunk`s: role, one for each piece, finish, usage if asked for, `[DONE]`.

        Several answers take turns, piece by piece.
        """
        opened = b"data: " + json_bytes(envelope(ask, answer, "chat.completion.chunk"))[:-1]
        no_usage = b',"usage":null' if ask.include_usage else b""
        if "obfuscation" in ask.wants:
            no_usage += b',"obfuscation":"aXbYcZ"'
        head: list[bytes] = []
        tail: list[bytes] = []
        bodies: list[list[bytes]] = []
        for index, each in enumerate(answer.all):
            before = opened + b',"choices":[{"index":%d,"delta":' % index
            after = b',"logprobs":null,"finish_reason":null}]' + no_usage + b"}\n\n"
            role = b'{"role":"assistant","content":' + (b'""' if _is_text(ask, each) else b"null") + b',"refusal":null}'
            head.append(before + role + after)
            if _is_text(ask, each) and "logprobs" not in ask.wants:
                bodies.append([before + b'{"content":' + json_bytes(piece) + b"}" + after for piece in each.pieces])
            else:
                bodies.append([before + shown + no_usage + b"}\n\n" for shown in _deltas(ask, each)])
            if "audio" in ask.wants and each.call is None and not each.refused:
                tail.append(before + b'{"audio":{"expires_at":%d}}' % created(each) + after)
            of_choice = b"".join(b"," + json_bytes(k) + b":" + json_bytes(v) for k, v in self.of_choice.items())
            if of_choice:
                tail.append(before + b'{},"finish_reason":null' + of_choice + b"}]" + no_usage + b"}\n\n")
            finish = b'{},"logprobs":null,"finish_reason":' + json_bytes(finish_reason(ask, each))
            tail.append(before + finish + of_choice + b"}]" + no_usage + b"}\n\n")
        if "moderation" in ask.wants:
            tail.append(opened + b',"choices":[],"moderation":' + json_bytes(_MODERATION) + no_usage + b"}\n\n")
        if ask.include_usage:
            tail.append(opened + b',"choices":[],"usage":' + json_bytes(usage(ask, answer)) + b"}\n\n")
        tail.append(DONE)
        body = bodies[0] if len(bodies) == 1 else [frame for frame in chain(*zip_longest(*bodies)) if frame]
        return StreamPlan(head=head, body=body, tail=tail)

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
        "service_tier": ask.tier,
        "system_fingerprint": "fp_simulated",
    }


def finish_reason(ask: Ask, answer: Answer) -> str:
    """Return the finish reason; a call forced by its name finishes with `stop`, as the provider does."""
    if answer.finish == "tool":
        return "stop" if ask.forced_by_name else "tool_calls"
    return "length" if answer.finish == "length" else "stop"


def usage(ask: Ask, answer: Answer) -> dict[str, Any]:
    """Return the usage of all answers; reasoning is part of the completion tokens."""
    spoken = sum(len(each.pieces) for each in answer.all) if "audio" in ask.wants else 0
    prompt = {"cached_tokens": ask.cached_tokens, "audio_tokens": 0}
    if ask.cache_write_tokens:
        prompt["cache_write_tokens"] = ask.cache_write_tokens
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": sum(len(each.thought) for each in answer.all),
            "audio_tokens": spoken,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _is_text(ask: Ask, answer: Answer) -> bool:
    return answer.call is None and not answer.refused and "audio" not in ask.wants


def _message(ask: Ask, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text if _is_text(ask, answer) else None,
        "refusal": answer.text if answer.refused else None,
        "annotations": [],
    }
    if answer.call is not None:
        message["tool_calls"] = [
            {
                "id": call_id(answer, at),
                "type": "custom" if call.custom else "function",
                **_call_words(call.custom, call.name, call.arguments.decode()),
            }
            for at, call in enumerate(answer.calls)
        ]
    elif "audio" in ask.wants and not answer.refused:
        message["audio"] = {
            "id": f"audio_{answer.digest.hex()[:24]}",
            "data": "".join(sound(piece) for piece in answer.pieces),
            "transcript": answer.text,
            "expires_at": created(answer),
        }
    return message


def _call_words(custom: bool, name: str | None, words: str) -> dict[str, Any]:  # noqa: FBT001 # it is data
    named = {} if name is None else {"name": name}
    return {"custom": {**named, "input": words}} if custom else {"function": {**named, "arguments": words}}


def _logprobs(ask: Ask, answer: Answer, pieces: tuple[str, ...]) -> dict[str, Any] | None:
    if "logprobs" not in ask.wants:
        return None
    shown = [logprob(piece, ask.top_logprobs) for piece in pieces]
    return {"content": None, "refusal": shown} if answer.refused else {"content": shown, "refusal": None}


def _deltas(ask: Ask, answer: Answer) -> list[bytes]:
    """Return the rest of a choice after `"delta":`, one for each token."""
    shown: list[tuple[dict[str, Any], Any]] = []
    if answer.call is not None:
        for at, call in enumerate(answer.calls):
            kind = "custom" if call.custom else "function"
            opening = {"index": at, "id": call_id(answer, at), "type": kind, **_call_words(call.custom, call.name, "")}
            shown.append(({"tool_calls": [opening]}, None))
            pieces = call.pieces if at else answer.pieces
            shown += [({"tool_calls": [{"index": at, **_call_words(call.custom, None, p)}]}, None) for p in pieces]
    else:
        for at, piece in enumerate(answer.pieces):
            logprobs = _logprobs(ask, answer, (piece,))
            if answer.refused:
                shown.append(({"refusal": piece}, logprobs))
            elif "audio" in ask.wants:
                first = {} if at else {"id": f"audio_{answer.digest.hex()[:24]}"}
                shown.append(({"audio": {**first, "data": sound(piece), "transcript": piece}}, logprobs))
            else:
                shown.append(({"content": piece}, logprobs))
    return [
        json_bytes(delta) + b',"logprobs":' + json_bytes(logprobs) + b',"finish_reason":null}]'
        for delta, logprobs in shown
    ]
