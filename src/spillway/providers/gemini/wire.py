"""Gemini's answers, whole and streamed, AI Studio's and Vertex's.

Source: https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from spillway.core.clock import entropy
from spillway.core.errors import BadRequest, ContentFiltered, InferenceError, NetworkError, ServerError
from spillway.core.reply import FinishReason, TokenChunk, ToolCallDelta
from spillway.providers.gemini.calls import OpenCall, arguments_of, is_piece, signed
from spillway.providers.gemini.contents import MADE_ID
from spillway.providers.gemini.metadata import logprobs, note, url_citations, usage_details
from spillway.providers.gemini.response import Candidate, FunctionCall, Part, Response, UsageMetadata
from spillway.providers.reading import ABSENT, UNREADABLE, is_set, reread, unreadable
from spillway.remote.sse import RawEvent

_FINISHES = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
    "IMAGE_OTHER": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "PUP_LIMITED_DISABLED": FinishReason.CONTENT_FILTER,
}
_FAILURES = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})

Refuse = Callable[[bytes], InferenceError]
"""Makes an error of a body that says `{"error": …}` although the status was 200."""


_READ_ANYWAY = frozenset({"text", "thought", "thoughtSignature"})


_response = msgspec.json.Decoder(Response).decode
_responses = msgspec.json.Decoder(list[Response]).decode


def decode_response(body: bytes, refuse: Refuse) -> tuple[list[TokenChunk], str]:
    """Return a whole response as chunks, and its id; a stream without events comes as an array of responses.

    Raises:
        ContentFiltered: the prompt was blocked.
        ServerError: it can't be read, or lacks what every response has.
        InferenceError: it says that it is an error.
    """
    try:
        responses = _responses(body) if body.lstrip()[:1] == b"[" else [_response(body)]
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    stream = ResponseStream(refuse)
    chunks: list[TokenChunk] = []
    for response in responses:
        stream.take_response(response, body, chunks)
    if not stream.complete:
        raise ServerError("the answer has no candidate with a finishReason", reason="schema")
    last = stream.last_chunks()
    if len(chunks) == len(last) == 1 and chunks[0].tool_call_delta is None and chunks[0].extra is None:
        end = last[0]
        chunks[0] = msgspec.structs.replace(
            chunks[0], usage=end.usage, finish_reason=end.finish_reason, about=end.about, extra=end.extra
        )
    else:
        chunks += last
    return chunks, stream.answer_id


class _State:
    """What is known of one of the answers."""

    __slots__ = ("calls", "finish", "native_finish", "noted", "open")

    def __init__(self) -> None:
        self.calls = 0
        self.open: OpenCall | None = None
        self.finish: FinishReason | None = None
        self.native_finish = ""
        self.noted: dict[str, Any] = {}


class ResponseStream:
    """Makes chunks of the responses of one stream, which ends where its bytes end.

    Args:
        refuse: makes the error of an event or a tail that says it is one.
    """

    __slots__ = ("_model", "_refuse", "_states", "_usage", "answer_id", "finished")

    def __init__(self, refuse: Refuse) -> None:
        self._refuse = refuse
        self._usage: UsageMetadata | None = None
        self._states: dict[int, _State] = {}
        self._model = ""
        self.answer_id = ""
        self.finished = False

    @property
    def complete(self) -> bool:
        """Whether every answer has a finish reason, the only proof that nothing is missing."""
        return 0 in self._states and all(state.finish is not None for state in self._states.values())

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Append to `out` what `events` carry.

        Raises:
            ContentFiltered: the prompt was blocked.
            ServerError: an event can't be read; the chunks before it are in `out`.
            InferenceError: an event says that it is an error.
        """
        for _, data in events:
            try:
                response = _response(data)
            except UNREADABLE as error:
                if data.lstrip()[:1] == b"[" and b'"error"' in data:
                    raise self._refuse(data) from error
                response = reread(_response, data, error)
            self.take_response(response, data, out)

    def take_response(self, response: Response, data: bytes, out: list[TokenChunk]) -> None:
        """Append to `out` what one response carries; `data` is what it was made of."""
        if response.usage_metadata is not None:
            self._usage = response.usage_metadata
        candidates = response.candidates
        if not candidates:
            self._without_candidates(response, data, out)
            return
        if not self._model:
            self._begin(response)
        for candidate in candidates:
            choice = candidate.index
            if choice:
                self._state(choice)
            else:
                choice = 0
            content = candidate.content
            if content is not None and content.parts:
                for part in content.parts:
                    text = part.text
                    if not text:
                        self._take_other(part, candidate, data, out)
                    elif part.thought:
                        out.append(TokenChunk(reasoning_delta=text, choice=choice))
                    else:
                        out.append(TokenChunk(text_delta=text, choice=choice))
                    if part.thought_signature is not None and text:
                        out.append(TokenChunk(extra=signed(part.thought_signature), choice=choice))
            if candidate.finish_reason is not None:
                self._take_finish(candidate)
                self._take_more(candidate, out)
            elif not (
                candidate.logprobs_result is candidate.grounding_metadata is candidate.citation_metadata is ABSENT
            ):
                self._take_more(candidate, out)

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes; see `StreamWire.end`.

        Raises:
            NetworkError: no finish reason was seen (`incomplete`).
            InferenceError: the residue is an error's body.
        """
        rest = residue.strip()
        if rest[:1] in {b"{", b"["} and b'"error"' in rest:
            raise self._refuse(rest)
        for _, data in unended:
            try:
                response = _response(data)
            except UNREADABLE:
                continue
            self.take_response(response, data, out)
        if not self.complete:
            raise NetworkError("the stream ended without its terminal marker", reason="incomplete")
        self.finished = True
        out += self.last_chunks()

    def last_chunks(self) -> list[TokenChunk]:
        """Return what only the end makes certain: calls that stood open, finish reasons, sources and the usage."""
        chunks: list[TokenChunk] = []
        usage = self._usage
        for choice, state in sorted(self._states.items()):
            if state.open is not None:
                chunks.append(TokenChunk(tool_call_delta=state.open.closed(), choice=choice))
                state.open = None
            finish = FinishReason.TOOL_CALLS if state.finish is FinishReason.STOP and state.calls else state.finish
            about: dict[str, Any] = {"native_finish_reason": state.native_finish, **state.noted}
            if not choice:
                about = ({"model": self._model} if self._model else {}) | about
                about.update({} if usage is None else usage_details(usage))
            sources = url_citations(state.noted) if state.noted else []
            chunks.append(
                TokenChunk(
                    finish_reason=finish,
                    choice=choice,
                    about=about if not choice else {"other_candidates": {str(choice): about}},
                    extra={"annotations": sources} if sources else None,
                    usage=None if choice or usage is None else usage.as_usage(),
                )
            )
        return chunks

    def _begin(self, response: Response) -> None:
        self.answer_id = response.response_id or self.answer_id
        self._model = response.model_version or ""

    def _state(self, choice: int) -> _State:
        state = self._states.get(choice)
        if state is None:
            state = self._states[choice] = _State()
        return state

    def _without_candidates(self, response: Response, data: bytes, out: list[TokenChunk]) -> None:
        if response.error is not ABSENT and is_set(response.error):
            raise self._refuse(data)
        feedback = response.prompt_feedback
        if feedback is not None and feedback.block_reason:
            why = f": {feedback.block_reason_message}" if feedback.block_reason_message else ""
            raise ContentFiltered(f"the prompt was blocked: {feedback.block_reason}{why}", reason="prompt_blocked")
        if response.usage_metadata is None and feedback is None:
            out.append(TokenChunk(raw=bytes(data)))

    def _take_other(self, part: Part, candidate: Candidate, data: bytes, out: list[TokenChunk]) -> None:
        """Append a part that is no text: a call, an image, a signature alone, or one that only the provider reads."""
        choice = candidate.index or 0
        call, blob, signature = part.function_call, part.inline_data, part.thought_signature
        if call is not None:
            self._take_call(call, signature, choice, out)
        elif blob is not None and blob.mime_type.startswith("image/") and not part.thought:
            image: dict[str, Any] = {
                "type": "image_url",
                "image_url": {"url": f"data:{blob.mime_type};base64,{blob.data}"},
            }
            if signature is not None:
                image.update(signed(signature))
            out.append(TokenChunk(extra={"images": [image]}, choice=choice))
        elif (native := _native(part, candidate, data)) is not None:
            out.append(TokenChunk(extra={"native_parts": [native]}, choice=choice))
        elif signature is not None:
            out.append(TokenChunk(extra=signed(signature), choice=choice))

    def _take_call(self, call: FunctionCall, signature: str | None, choice: int, out: list[TokenChunk]) -> None:
        state = self._state(choice)
        opened = state.open
        if opened is not None and not call.name:
            opened.take(call.partial_args)
            if not call.will_continue:
                state.open = None
                out.append(TokenChunk(tool_call_delta=opened.closed(), choice=choice))
            return
        if opened is not None:
            out.append(TokenChunk(tool_call_delta=opened.closed(), choice=choice))
        index = state.calls
        state.calls += 1
        call_id = call.id
        if not call_id:
            origin = self.answer_id or f"{int(entropy.random() * 2**52):x}"
            call_id = f"{MADE_ID}{origin}-{f'{choice}.' if choice else ''}{index}"
        state.open = OpenCall(index) if is_piece(call) else None
        delta = ToolCallDelta(
            index=index,
            id=call_id,
            name=call.name or "",
            arguments="" if state.open is not None else arguments_of(call.args),
            extra=None if signature is None else signed(signature),
        )
        out.append(TokenChunk(tool_call_delta=delta, choice=choice))
        if state.open is not None:
            state.open.take(call.partial_args)

    def _take_finish(self, candidate: Candidate) -> None:
        reason = candidate.finish_reason or ""
        if reason in _FAILURES:
            raise ServerError(f"the model failed: {reason}", reason=reason.lower())
        if reason == "MISSING_THOUGHT_SIGNATURE":
            raise BadRequest("a tool call in messages lacks its thought signature", reason=reason.lower())
        if reason != "FINISH_REASON_UNSPECIFIED":
            state = self._state(candidate.index or 0)
            state.finish = _FINISHES.get(reason, FinishReason.STOP)
            state.native_finish = reason

    def _take_more(self, candidate: Candidate, out: list[TokenChunk]) -> None:
        choice = candidate.index or 0
        note(candidate, self._state(choice).noted)
        if candidate.logprobs_result is not ABSENT:
            told = logprobs(candidate.logprobs_result)
            if told is not None:
                out.append(TokenChunk(logprobs=told, choice=choice))


def _native(part: Part, candidate: Candidate, data: bytes) -> dict[str, Any] | None:
    """Return a part as it came, None for one that holds nothing but what is read anyway.

    What is read holds no unknown fields, so the response is decoded again: such parts are rare.
    """
    if part.text is not None and part.inline_data is None:
        return None
    parts = candidate.content.parts if candidate.content is not None else None
    at = next(number for number, one in enumerate(parts or ()) if one is part)
    found = msgspec.json.decode(bytes(data).decode("utf-8", "replace"))
    for response in found if isinstance(found, list) else [found]:
        for one in response.get("candidates") or ():
            same = (one.get("index") or 0) == (candidate.index or 0)
            listed = (one.get("content") or {}).get("parts") or () if same else ()
            if at < len(listed) and _reads_as(listed[at], part):
                return listed[at] if listed[at].keys() - _READ_ANYWAY else None
    return None


def _reads_as(found: Any, part: Part) -> bool:
    try:
        return isinstance(found, dict) and msgspec.convert(found, Part) == part
    except msgspec.ValidationError:
        return False
