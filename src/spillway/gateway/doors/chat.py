"""`POST /v1/chat/completions`: OpenAI's door to any deployment.

A deployment that speaks the same API is sent the body as the caller wrote it, and its answer is passed on as it came,
with the provider's own `id` and `model`; any other is asked and answered in translation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from spillway.core.chat_request import read_chat
from spillway.core.chat_shape import completion
from spillway.core.clock import new_id, wall_now
from spillway.core.errors import InferenceError
from spillway.core.reply import Tokens
from spillway.core.request import OPENAI_CHAT
from spillway.gateway.doors.chat_stream import DONE, Relay, Script
from spillway.gateway.intake import understood
from spillway.gateway.refusals import refusal_of
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note, Visit

_encode = msgspec.json.Encoder().encode


async def chat(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer a chat completion, whole or streamed."""
    body = await exchange.json_object()
    asked = understood(read_chat, body, idempotency_id=new_id(), native=True)
    async with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        if asked.stream:
            await _stream(visit, exchange, include_usage=asked.include_usage)
        else:
            await _whole(visit, exchange)


async def _whole(visit: Visit, exchange: Exchange) -> None:
    answer = await visit.whole()
    if not isinstance(answer, Tokens):
        return
    if answer.wire == OPENAI_CHAT:
        await exchange.answer(200, answer.raw, visit.headers(answer))
        return
    body = completion(answer, model=visit.model, completion_id=f"chatcmpl-{new_id()}", created=_now())
    await exchange.answer_json(200, body, visit.headers(answer))


async def _stream(visit: Visit, exchange: Exchange, *, include_usage: bool) -> None:
    """Relay a stream from its commit point on; one that breaks then ends in an error event, without `[DONE]`."""
    async with visit.stream() as live:
        await exchange.begin_events(
            {"x-spillway-deployment": live.deployment, "x-spillway-attempts": str(live.attempts)}
        )
        events: Relay | Script
        if live.wire == OPENAI_CHAT:
            events = Relay(include_usage=include_usage)
        else:
            events = Script(
                model=visit.model,
                completion_id=f"chatcmpl-{new_id()}",
                created=_now(),
                include_usage=include_usage,
            )
        try:
            while (chunks := await visit.next_of(live)) is not None:
                data = events.take(chunks, live)
                if data:
                    if visit.note.first_content_at is None:
                        visit.note.first_content()
                    await exchange.write(data)
        except InferenceError as error:
            refusal = refusal_of(error)
            visit.note.refused(refusal)
            await exchange.end(b"data: " + _encode(refusal.openai()) + b"\n\n")
            return
        await exchange.end(events.end() + DONE)


def _now() -> int:
    return int(wall_now().timestamp())
