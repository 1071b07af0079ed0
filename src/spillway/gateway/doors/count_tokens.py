"""`POST /v1/messages/count_tokens`: how many input tokens a message has, as its provider counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.clock import new_id
from spillway.core.reply import Tokens, Usage
from spillway.core.request import ANTHROPIC
from spillway.gateway.dialects.anthropic_ask import read_message
from spillway.gateway.intake import understood
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note


async def count_tokens(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer the count of the provider that is asked; one that counts nothing is a bad request, never a guess.

    Nothing is generated or billed, and it takes nothing of the key's tokens, only one of its requests.
    """
    body = await exchange.json_object()
    asked = understood(read_message, body, exchange.headers, idempotency_id=new_id(), counts=True)
    with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        answer = await visit.whole()
        note.usage = Usage()
        if not isinstance(answer, Tokens) or answer.usage is None:
            return
        if answer.wire == ANTHROPIC:
            await exchange.answer(200, answer.raw, visit.headers(answer))
        else:
            await exchange.answer_json(200, {"input_tokens": answer.usage.input_tokens}, visit.headers(answer))
