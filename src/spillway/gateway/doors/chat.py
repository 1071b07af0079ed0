"""`POST /v1/chat/completions`: OpenAI's door to any deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.chat_request import read_chat
from spillway.core.chat_shape import completion, completion_chunk, usage_shape
from spillway.core.clock import new_id, wall_now
from spillway.core.errors import InferenceError
from spillway.core.reply import Tokens
from spillway.gateway.refusals import refusal_of
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.core.reply import Usage
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note, Visit

_encode = msgspec.json.Encoder().encode
_DONE = b"data: [DONE]\n\n"


async def chat(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer a chat completion, whole or streamed."""
    asked = read_chat(await exchange.json_object(), idempotency_id=new_id())
    async with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        if asked.stream:
            await _stream(visit, exchange, include_usage=asked.include_usage)
        else:
            answer = await visit.whole()
            if isinstance(answer, Tokens):
                created = int(wall_now().timestamp())
                body = completion(answer, model=visit.model, completion_id=f"chatcmpl-{new_id()}", created=created)
                await exchange.answer_json(200, body, visit.headers(answer))


async def _stream(visit: Visit, exchange: Exchange, *, include_usage: bool) -> None:
    """Relay a stream from its commit point on; one that breaks then ends in an error event."""
    created = int(wall_now().timestamp())
    about: dict[str, Any] = {"model": visit.model, "completion_id": f"chatcmpl-{new_id()}", "created": created}
    async with visit.stream() as live:
        await exchange.begin_events(
            {"x-spillway-deployment": live.deployment, "x-spillway-attempts": str(live.attempts)}
        )
        usage: Usage | None = None
        first = True
        try:
            while (chunks := await visit.next_of(live)) is not None:
                frames = []
                for chunk in chunks:
                    if chunk.usage is not None:
                        usage = chunk.usage
                        chunk = msgspec.structs.replace(chunk, usage=None)  # noqa: PLW2901 # it goes out last
                    frame = completion_chunk(chunk, **about)
                    if not frame["choices"]:
                        continue
                    if first:
                        first = False
                        frame["choices"][0]["delta"] = {"role": "assistant", **frame["choices"][0]["delta"]}
                    frames.append(b"data: " + _encode(frame) + b"\n\n")
                if frames:
                    if visit.note.first_content_at is None:
                        visit.note.first_content()
                    await exchange.write(b"".join(frames))
        except InferenceError as error:
            refusal = refusal_of(error)
            visit.note.refused(refusal)
            await exchange.write(b"data: " + _encode(refusal.openai()) + b"\n\n")
            await exchange.end()
            return
        last = b""
        if include_usage and usage is not None:
            frame = {"id": about["completion_id"], "object": "chat.completion.chunk", "created": about["created"]}
            last = (
                b"data: "
                + _encode({**frame, "model": visit.model, "choices": [], "usage": usage_shape(usage)})
                + b"\n\n"
            )
        await exchange.write(last + _DONE)
        await exchange.end()
