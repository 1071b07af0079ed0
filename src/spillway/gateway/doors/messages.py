"""`POST /v1/messages`: Anthropic's door to any deployment.

A deployment that speaks the same API is sent the body and the `anthropic-*` headers as the caller wrote them, and its
answer is passed on as it came, errors included; any other is asked and answered in translation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.clock import new_id
from spillway.core.request import ANTHROPIC
from spillway.gateway.dialects.anthropic_answer import message_of
from spillway.gateway.dialects.anthropic_ask import read_message
from spillway.gateway.dialects.anthropic_events import PING, MessageEvents, Relay
from spillway.gateway.intake import understood
from spillway.gateway.relaying import answer_streamed, answer_whole
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note
    from spillway.remote.engine import LiveStream


async def messages(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer a message, whole or streamed."""
    asked = understood(read_message, await exchange.json_object(), exchange.headers, idempotency_id=new_id())
    with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        about = {"model": visit.model, "message_id": f"msg_{new_id()}"}
        if not asked.stream:
            await answer_whole(visit, exchange, ANTHROPIC, lambda answer: message_of(answer, **about))
            return

        def events(live: LiveStream) -> Relay | MessageEvents:
            if live.wire == ANTHROPIC:
                return Relay(live.take_frames, request_id=exchange.request_id)
            return MessageEvents(**about, request_id=exchange.request_id)

        await answer_streamed(visit, exchange, events, PING)
