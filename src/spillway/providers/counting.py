"""Answers that count a request's input tokens: the same for every provider, but for the name of the count."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from spillway.core.errors import InferenceError, ServerError
from spillway.providers.reading import ABSENT, UNREADABLE, Count, count, is_set, unreadable


class _Counted(msgspec.Struct, gc=False):
    input_tokens: Count = None
    total_tokens: Count = msgspec.field(default=None, name="totalTokens")
    error: msgspec.Raw = ABSENT


_counted = msgspec.json.Decoder(_Counted).decode


def decode_count(body: bytes, refuse: Callable[[bytes], InferenceError]) -> int:
    """Return the input tokens that a provider counted.

    Args:
        refuse: makes an error of a body that says it is one.

    Raises:
        ServerError: it can't be read, or tells of no count.
        InferenceError: it says that it is an error.
    """
    try:
        counted = _counted(body)
    except UNREADABLE as error:
        raise unreadable(error, body) from error
    if is_set(counted.error):
        raise refuse(body)
    found = counted.total_tokens if counted.input_tokens is None else counted.input_tokens
    if found is None:
        raise ServerError("the answer tells of no count", reason="schema")
    return count(found)
