"""OpenAI's routes beside chat: embeddings and the list of models."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from spillway.sim.ask import Ask, BadAsk, decode_object, fingerprint, text_tokens, whole_number
from spillway.sim.prices import PRICES
from spillway.sim.wire.dialect import CREATED_EPOCH, Route, json_bytes

DIMENSIONS = 16
MOST_INPUTS = 2048
MOST_DIMENSIONS = 8192


def vector(model: str, content: str, dimensions: int) -> list[float]:
    """Return the embedding of `content`: `dimensions` floats in [-1, 1] that depend on model and text only.

    Each is exact in 32 bits, so that both encodings carry the same numbers.
    """
    digest = hashlib.shake_128(f"{model}\0{content}".encode("utf-8", "surrogatepass")).digest(2 * dimensions)
    return [number / 32768 for number in struct.unpack(f"<{dimensions}h", digest)]


def embeddings(dialect: str, raw: bytes, route: Route) -> tuple[Ask, bytes]:
    """Answer an embeddings request; raises `BadAsk`."""
    body = decode_object(raw)
    model = route.model or body.get("model")
    if not isinstance(model, str) or not model:
        raise BadAsk("you must provide a model parameter", param="model")
    inputs, tokens = _inputs(body.get("input"))
    dimensions = whole_number(body, "dimensions") or DIMENSIONS
    if dimensions > MOST_DIMENSIONS:
        raise BadAsk(f"dimensions must be at most {MOST_DIMENSIONS}", param="dimensions")
    packed = body.get("encoding_format") == "base64"
    data: list[dict[str, Any]] = []
    for index, content in enumerate(inputs):
        numbers = vector(model, content, dimensions)
        shown = base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode() if packed else numbers
        data.append({"object": "embedding", "index": index, "embedding": shown})
    ask = Ask(
        model=model,
        fingerprint=fingerprint(dialect, model, body),
        input_tokens=tokens,
        last_user=inputs[-1],
    )
    spent = {"prompt_tokens": tokens, "total_tokens": tokens}
    return ask, json_bytes({"object": "list", "data": data, "model": model, "usage": spent})


def models() -> bytes:
    """List the models that have a price."""
    rows = [{"id": model, "object": "model", "created": CREATED_EPOCH, "owned_by": "simulator"} for model in PRICES]
    return json_bytes({"object": "list", "data": rows})


def _inputs(value: object) -> tuple[list[str], int]:
    rows = value if isinstance(value, list) and not (value and isinstance(value[0], int)) else [value]
    texts: list[str] = []
    tokens = 0
    for row in rows:
        if isinstance(row, str) and row:
            texts.append(row)
            tokens += text_tokens(row)
        elif isinstance(row, list) and row and all(isinstance(token, int) for token in row):
            texts.append(",".join(map(str, row)))
            tokens += len(row)
        else:
            raise BadAsk("'$.input' is invalid: expected a non-empty string or an array of them.", param="input")
    if not 0 < len(texts) <= MOST_INPUTS:
        raise BadAsk(f"'$.input' is invalid: expected 1 to {MOST_INPUTS} items.", param="input")
    return texts, tokens
