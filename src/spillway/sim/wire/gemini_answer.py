"""Gemini's answers, whole and in pieces: candidates, calls, signatures, images, sources and log probabilities."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from spillway.sim.answers import Answer, Call
from spillway.sim.answers import compose as compose_one
from spillway.sim.wire.gemini_ask import GeminiAsk
from spillway.sim.wire.gemini_signatures import sign, signs

SOURCE = "https://example.com/simulated"
_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class GeminiAnswer(Answer, frozen=True, kw_only=True):
    """What the model says: `others` are the candidates after the first, `more_calls` the calls after the first."""

    more_calls: tuple[Call, ...] = ()
    others: tuple[Answer, ...] = ()


def compose(seed: int, ask: GeminiAsk) -> GeminiAnswer:
    """Return the one answer to `ask` under `seed`; see `spillway.sim.answers.compose`."""
    first = compose_one(seed, ask)
    calls: list[Call] = []
    output = first.output_tokens
    for at, tool in enumerate(ask.calls[1:], 1):
        again = msgspec.structs.replace(
            ask, tools=(tool,), forced_tool=tool.name, fingerprint=_varied(ask, f"call {at}"), thinking=False
        )
        one = compose_one(seed, again)
        if one.call is not None:
            calls.append(one.call)
            output += one.output_tokens
    others = [
        compose_one(seed, msgspec.structs.replace(ask, fingerprint=_varied(ask, f"candidate {at}")))
        for at in range(1, ask.candidates)
    ]
    output += sum(one.output_tokens for one in others)
    told: dict[str, Any] = {"output_tokens": output, "more_calls": tuple(calls), "others": tuple(others)}
    return GeminiAnswer(**{**msgspec.structs.asdict(first), **told})


def _varied(ask: GeminiAsk, how: str) -> bytes:
    return hashlib.blake2b(ask.fingerprint + how.encode(), digest_size=16).digest()


def candidates(answer: GeminiAnswer) -> list[Answer]:
    """Return all candidates, the first one first."""
    return [answer, *answer.others]


def whole_parts(ask: GeminiAsk, answer: Answer) -> list[dict[str, Any]]:
    """Return a candidate's parts as a whole response has them."""
    parts: list[dict[str, Any]] = []
    if answer.thought:
        parts.append({"text": "".join(answer.thought), "thought": True})
    parts += _code(ask)
    if answer.call is not None:
        parts += calls_of(ask, answer)
    elif answer.pieces:
        text: dict[str, Any] = {"text": answer.text}
        if signs(ask.model):
            text["thoughtSignature"] = sign(ask.dialect, ask.model, answer.text)
        parts.append(text)
    parts += _image(ask, answer)
    return parts


def pieces(ask: GeminiAsk, answer: Answer) -> Iterator[tuple[list[dict[str, Any]], str | None]]:
    """Yield a candidate's parts as a stream has them, and the token that each carries where it is a piece of text."""
    for piece in answer.thought:
        yield [{"text": piece, "thought": True}], None
    for part in _code(ask):
        yield [part], None
    if answer.call is not None:
        calls = calls_of(ask, answer)
        if ask.in_pieces and all(_has_leaves_only(one["functionCall"]["args"]) for one in calls):
            for call in calls:
                yield from _in_pieces(call)
        else:
            yield calls, None
    else:
        for piece in answer.pieces:
            yield [{"text": piece}], piece
    for part in _image(ask, answer):
        yield [part], None


def last_parts(ask: GeminiAsk, answer: Answer) -> list[dict[str, Any]]:
    """Return the empty text that ends a stream; it carries the signature of the text before it."""
    text: dict[str, Any] = {"text": ""}
    if answer.call is None and answer.pieces and signs(ask.model):
        text["thoughtSignature"] = sign(ask.dialect, ask.model, answer.text)
    return [text]


def calls_of(ask: GeminiAsk, answer: Answer) -> list[dict[str, Any]]:
    """Return the calls; only the first is signed."""
    made = [answer.call, *getattr(answer, "more_calls", ())]
    parts: list[dict[str, Any]] = []
    for call in made:
        if call is not None:
            args = msgspec.json.decode(call.arguments)
            part: dict[str, Any] = {"functionCall": {"name": call.name, "args": args}}
            if not parts:
                part["thoughtSignature"] = sign(ask.dialect, ask.model, [call.name, args])
            parts.append(part)
    return parts


def grounding(ask: GeminiAsk, answer: Answer) -> dict[str, Any]:
    """Return what a search adds to a candidate: one source for the whole text."""
    if not ask.search or answer.call is not None:
        return {}
    segment = {"startIndex": 0, "endIndex": len(answer.text.encode()), "text": answer.text}
    return {
        "groundingMetadata": {
            "webSearchQueries": [ask.last_user[:80]],
            "groundingChunks": [{"web": {"uri": SOURCE, "title": "example.com"}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        }
    }


def logprobs(ask: GeminiAsk, answer: Answer, tokens: list[tuple[int, str]]) -> dict[str, Any]:
    """Return the log probabilities of some of an answer's tokens, each with its position."""
    if ask.alternatives is None or not tokens:
        return {}
    chosen = [_token(answer, at, token, 0) for at, token in tokens]
    tops = [
        {
            "candidates": [
                _token(answer, at, token if rank == 0 else f" other{rank}", rank) for rank in range(ask.alternatives)
            ]
        }
        for at, token in tokens
    ]
    return {"logprobsResult": {"chosenCandidates": chosen, "topCandidates": tops}}


def _token(answer: Answer, at: int, token: str, rank: int) -> dict[str, Any]:
    return {"token": token, "tokenId": at, "logProbability": -(answer.digest[at % 16] + 256 * rank) / 256}


def _code(ask: GeminiAsk) -> list[dict[str, Any]]:
    if not ask.code:
        return []
    return [
        {"executableCode": {"language": "PYTHON", "code": "print(6 * 7)"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "42\n"}},
    ]


def _image(ask: GeminiAsk, answer: Answer) -> list[dict[str, Any]]:
    if not ask.image or answer.call is not None:
        return []
    data = base64.b64encode(_PNG + answer.digest).decode()
    part: dict[str, Any] = {"inlineData": {"mimeType": "image/png", "data": data}}
    if signs(ask.model):
        part["thoughtSignature"] = sign(ask.dialect, ask.model, data)
    return [part]


def _in_pieces(part: dict[str, Any]) -> Iterator[tuple[list[dict[str, Any]], None]]:
    call = part["functionCall"]
    opening = {"functionCall": {"name": call["name"], "willContinue": True}}
    if "thoughtSignature" in part:
        opening["thoughtSignature"] = part["thoughtSignature"]
    yield [opening], None
    for path, value in _leaves(call["args"], "$"):
        for piece in _split(value):
            yield [{"functionCall": {"partialArgs": [{"jsonPath": path, **piece}], "willContinue": True}}], None
    yield [{"functionCall": {}}], None


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if name.isidentifier() else f"{path}['{name}']")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{at}]")
    else:
        yield path, value


def _split(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        half = len(value) // 2
        return [{"stringValue": value[:half], "willContinue": True}, {"stringValue": value[half:]}]
    if isinstance(value, bool):
        return [{"boolValue": value}]
    return [{"nullValue": "NULL_VALUE"} if value is None else {"numberValue": value}]


def _has_leaves_only(value: Any, *, outermost: bool = True) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return (outermost or bool(value)) and all(_has_leaves_only(one, outermost=False) for one in inner)
    return True
