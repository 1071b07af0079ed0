"""Answers to embeddings requests, in either of their two encodings."""

from __future__ import annotations

import binascii
import struct

import msgspec

from spillway.core.errors import ServerError
from spillway.core.reply import Usage
from spillway.providers.openai_chat.shapes import Refuse, UsageShape, usage_of
from spillway.providers.reading import ABSENT, UNREADABLE, is_set, unreadable

Vector = tuple[float, ...]


class _Row(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int = 0


class _Embedded(msgspec.Struct, gc=False):
    data: list[_Row] | None = None
    usage: UsageShape | None = None
    error: msgspec.Raw = ABSENT


_embedded = msgspec.json.Decoder(_Embedded).decode


def decode_embeddings(body: bytes, refuse: Refuse, wanted: int) -> tuple[tuple[Vector, ...], Usage | None]:
    """Return the vectors in the order of the inputs, and the usage.

    Raises:
        ServerError: it can't be read, or has not one vector for each of `wanted` inputs.
        InferenceError: it says that it is an error.
    """
    try:
        whole = _embedded(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if is_set(whole.error):
        raise refuse(body)
    rows = sorted(whole.data or (), key=lambda row: row.index)
    if len(rows) != wanted:
        raise ServerError(f"the answer has {len(rows)} vectors for {wanted} inputs", reason="schema")
    usage = None if whole.usage is None else usage_of(whole.usage)
    return tuple(_vector(row.embedding) for row in rows), usage


def _vector(embedding: list[float] | str) -> Vector:
    """Return a vector's numbers; base64 holds them as little-endian float32."""
    if not isinstance(embedding, str):
        return tuple(embedding)
    try:
        packed = binascii.a2b_base64(embedding, strict_mode=True)
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    except (binascii.Error, struct.error, ValueError) as error:
        raise ServerError(f"a vector of the answer can't be read: {error}", reason="schema") from error
