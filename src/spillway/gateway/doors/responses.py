"""`POST /v1/responses`: OpenAI's newer door to any deployment.

A deployment that speaks the same API is sent the body as the caller wrote it, and its answer is passed on as it came;
any other is asked and answered in translation. Nothing is kept: there is no response to fetch, to go on from or to
cancel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from spillway.core.clock import new_id, wall_now
from spillway.core.errors import BadRequest, InferenceError
from spillway.core.reply import Tokens
from spillway.core.request import OPENAI_RESPONSES
from spillway.gateway.dialects.responses_request import AskedResponse, read_response
from spillway.gateway.dialects.responses_shape import Frame, response
from spillway.gateway.dialects.responses_stream import RelayedEvents, ResponseEvents
from spillway.gateway.intake import understood
from spillway.gateway.refusals import refusal_of
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note, Visit


async def responses(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer with a response, whole or streamed."""
    asked = understood(read_response, await exchange.json_object(), idempotency_id=new_id())
    async with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        if asked.stream:
            await _stream(visit, exchange, asked)
        else:
            answer = await visit.whole()
            if not isinstance(answer, Tokens):
                return
            if answer.wire == OPENAI_RESPONSES:
                await exchange.answer(200, answer.raw, visit.headers(answer))
            else:
                await exchange.answer_json(200, response(answer, _frame(asked, visit)), visit.headers(answer))


async def input_tokens(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer how many tokens a request's input has; nothing is generated."""
    asked = understood(read_response, await exchange.json_object(), idempotency_id=new_id())
    counted = msgspec.structs.replace(asked.request, counts=True, native=None)
    async with admitted(gateway, caller, exchange, note, asked.model, counted) as visit:
        answer = await visit.whole()
        count = 0 if answer.usage is None else answer.usage.input_tokens
        shown = {"object": "response.input_tokens", "input_tokens": count}
        await exchange.answer_json(200, shown, visit.headers(answer))


async def kept(_gateway: Gateway, _caller: Caller, exchange: Exchange, _note: Note) -> None:
    """Refuse to fetch, cancel or delete a response.

    Raises:
        BadRequest: always.
    """
    raise BadRequest(
        f"{exchange.method} {exchange.path[:200]}: no responses are kept here; "
        "send the whole conversation in input with each request",
        reason="not_kept",
        param="response_id",
    )


async def _stream(visit: Visit, exchange: Exchange, asked: AskedResponse) -> None:
    """Relay a stream from its commit point on; one that breaks then ends in `response.failed` and an `error`."""
    async with visit.stream() as live:
        await exchange.begin_events(
            {"x-spillway-deployment": live.deployment, "x-spillway-attempts": str(live.attempts)}
        )
        events: RelayedEvents | ResponseEvents
        events = RelayedEvents() if live.wire == OPENAI_RESPONSES else ResponseEvents(_frame(asked, visit))
        try:
            while (chunks := await visit.next_of(live)) is not None:
                data = events.take(chunks) if isinstance(events, ResponseEvents) else events.take(live.take_frames())
                if data:
                    if visit.note.first_content_at is None:
                        visit.note.first_content()
                    await exchange.write(data)
        except InferenceError as error:
            refusal = refusal_of(error)
            visit.note.refused(refusal)
            await exchange.end(events.fail(refusal))
            return
        await exchange.end(events.end())


def _frame(asked: AskedResponse, visit: Visit) -> Frame:
    return Frame(asked.echo, model=visit.model, created=int(wall_now().timestamp()))
