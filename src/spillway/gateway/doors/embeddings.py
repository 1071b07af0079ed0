"""`POST /v1/embeddings`: vectors of any deployment that makes them, however many inputs its provider takes at once."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any

from spillway.core.chat_request import read_embeddings
from spillway.core.chat_shape import embeddings_list
from spillway.core.clock import new_id
from spillway.core.errors import BadRequest
from spillway.core.reply import Embeddings
from spillway.gateway.intake import understood
from spillway.gateway.visit import admitted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.callers import Caller
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note


async def embeddings(gateway: Gateway, caller: Caller, exchange: Exchange, note: Note) -> None:
    """Answer an embeddings request, as numbers or packed in base64 as little-endian float32."""
    body = await exchange.json_object()
    form = body.get("encoding_format", "float")
    if not isinstance(form, str) or form not in {"float", "base64"}:
        raise BadRequest("encoding_format must be float or base64", param="encoding_format")
    asked = understood(read_embeddings, body, idempotency_id=new_id())
    with admitted(gateway, caller, exchange, note, asked.model, asked.request) as visit:
        answer = await visit.whole()
        if isinstance(answer, Embeddings):
            shown = embeddings_list(answer, model=visit.model)
            if form == "base64":
                _pack(shown)
            await exchange.answer_json(200, shown, visit.headers(answer))


def _pack(shown: dict[str, Any]) -> None:
    for row in shown["data"]:
        vector = row["embedding"]
        row["embedding"] = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
