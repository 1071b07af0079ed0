"""`POST /v1/responses`: OpenAI's newer door to any deployment.

A deployment that speaks the same API is sent the body as the caller wrote it, and its answer is passed on as it came;
any other is asked and answered in translation. Nothing is kept: there is no response to fetch, to go on from or to
cancel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from spillway.core.clock import new_id, wall_now
from spillway.core.errors import BadRequest
from spillway.core.request import OPENAI_RESPONSES
from spillway.gateway.dialects.responses_request import read_response
from spillway.gateway.dialects.responses_shape import Frame, response
from spillway.gateway.dialects.responses_stream import RelayedEvents, ResponseEvents
from spillway.gateway.intake import understood
from spillway.gateway.relaying import answer_streamed, answer_whole
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note
    from spillway.remote.engine import LiveStream


async def responses(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer with a response, whole or streamed."""
    asked = understood(read_response, await exchange.json_object(), idempotency_id=new_id())
    with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        frame = Frame(asked.echo, model=visit.model, created=int(wall_now().timestamp()))
        if not asked.stream:
            await answer_whole(visit, exchange, OPENAI_RESPONSES, lambda answer: response(answer, frame))
            return

        def events(live: LiveStream) -> RelayedEvents | ResponseEvents:
            return RelayedEvents(live.take_frames) if live.wire == OPENAI_RESPONSES else ResponseEvents(frame)

        await answer_streamed(visit, exchange, events)


async def input_tokens(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer how many tokens a request's input has; nothing is generated."""
    asked = understood(read_response, await exchange.json_object(), idempotency_id=new_id())
    counted = msgspec.structs.replace(asked.request, counts=True, native=None)
    with admitted(gateway, caller, exchange, note, asked.model, counted) as visit:
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
