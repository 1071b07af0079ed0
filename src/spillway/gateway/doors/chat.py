"""`POST /v1/chat/completions`: OpenAI's door to any deployment.

A deployment that speaks the same API is sent the body as the caller wrote it, and its answer is passed on as it came,
with the provider's own `id` and `model`; any other is asked and answered in translation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.chat_request import read_chat
from spillway.core.chat_shape import completion
from spillway.core.clock import new_id, wall_now
from spillway.core.request import OPENAI_CHAT
from spillway.gateway.doors.chat_stream import Relay, Script
from spillway.gateway.intake import understood
from spillway.gateway.relaying import answer_streamed, answer_whole
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note, Visit
    from spillway.remote.engine import LiveStream


async def chat(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer a chat completion, whole or streamed."""
    body = await exchange.json_object()
    asked = understood(read_chat, body, idempotency_id=new_id(), native=True)
    with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        if not asked.stream:
            await answer_whole(visit, exchange, OPENAI_CHAT, lambda answer: completion(answer, **_about(visit)))
            return

        def events(live: LiveStream) -> Relay | Script:
            if live.wire == OPENAI_CHAT:
                return Relay(live.take_frames, include_usage=asked.include_usage)
            return Script(**_about(visit), include_usage=asked.include_usage)

        await answer_streamed(visit, exchange, events)


def _about(visit: Visit) -> dict[str, Any]:
    return {
        "model": visit.model,
        "completion_id": f"chatcmpl-{new_id()}",
        "created": int(wall_now().timestamp()),
    }
