"""`POST /v1/messages`: Anthropic's door to any deployment.

A deployment that speaks the same API is sent the body and the `anthropic-*` headers as the caller wrote them, and its
answer is passed on as it came, errors included; any other is asked and answered in translation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.clock import new_id
from spillway.core.errors import InferenceError
from spillway.core.reply import Tokens
from spillway.core.request import ANTHROPIC
from spillway.gateway.dialects.anthropic_answer import message_of
from spillway.gateway.dialects.anthropic_ask import read_message
from spillway.gateway.dialects.anthropic_events import PING, MessageEvents, Relay, event
from spillway.gateway.intake import understood
from spillway.gateway.refusals import refusal_of
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note, Visit


async def messages(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer a message, whole or streamed."""
    asked = understood(read_message, await exchange.json_object(), exchange.headers, idempotency_id=new_id())
    async with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        if asked.stream:
            await _stream(visit, exchange)
        else:
            await _whole(visit, exchange)


async def _whole(visit: Visit, exchange: Exchange) -> None:
    answer = await visit.whole()
    if not isinstance(answer, Tokens):
        return
    headers = visit.headers(answer)
    if answer.wire == ANTHROPIC:
        await exchange.answer(200, answer.raw, headers)
    else:
        await exchange.answer_json(200, message_of(answer, model=visit.model, message_id=_new_message_id()), headers)


async def _stream(visit: Visit, exchange: Exchange) -> None:
    """Relay a stream from its commit point on; one that breaks after it ends in an `error` event."""
    async with visit.stream() as live:
        await exchange.begin_events(
            {"x-spillway-deployment": live.deployment, "x-spillway-attempts": str(live.attempts)},
            PING,
        )
        events: Relay | MessageEvents
        if live.wire == ANTHROPIC:
            events = Relay(live.take_frames)
        else:
            events = MessageEvents(model=visit.model, message_id=_new_message_id())
        begin = events.begin()
        try:
            while (chunks := await visit.next_of(live)) is not None:
                data = begin + events.take(chunks)
                if data:
                    begin = b""
                    if visit.note.first_content_at is None:
                        visit.note.first_content()
                    await exchange.write(data)
        except InferenceError as error:
            refusal = refusal_of(error)
            visit.note.refused(refusal)
            await exchange.end(event("error", refusal.anthropic(exchange.request_id)))
            return
        await exchange.end(events.end())


def _new_message_id() -> str:
    return f"msg_{new_id()}"
