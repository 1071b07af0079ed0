"""What a provider was asked, with the dialect taken off: the one shape that answers are computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

BYTES_PER_TOKEN = 4
MEDIA_TOKENS = 85

_canonical = msgspec.json.Encoder(order="deterministic")


class BadAsk(Exception):
    """A body that the provider would refuse with 400.

    Args:
        message: What is wrong, in one line.
        param: The JSON path at fault, where there is one.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call, or a custom tool, which gets free text."""

    name: str
    schema: Mapping[str, Any]
    custom: bool = False


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One question to a model.

    `fingerprint` covers everything that decides the answer (model, messages, tools, sampling) and nothing that does not
    (streaming, output limits), so that a limit cuts an answer instead of changing it.

    `parallel` says that the dialect can write several calls of one answer, `answers` how many answers are asked for.
    `wants` holds what else is asked for, in the dialect's own words, and `tier` the service asked for.
    """

    model: str
    fingerprint: bytes
    input_tokens: int
    last_user: str
    after_tool: bool = False
    stream: bool = False
    include_usage: bool = False
    as_events: bool = True
    max_output: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    forced_tool: str | None = None
    forced_by_name: bool = False
    json_schema: Mapping[str, Any] | None = None
    thinking: bool = False
    parallel: bool = False
    answers: int = 1
    top_logprobs: int = 0
    wants: frozenset[str] = frozenset()
    tier: str = "default"
    cached_tokens: int = 0
    cache_write_tokens: int = 0


def fingerprint(dialect: str, model: str, body: object) -> bytes:
    """Return 16 bytes that name `body` whatever the order of its keys."""
    digest = hashlib.blake2b(f"{dialect}\0{model}\0".encode(), digest_size=16)
    digest.update(_canonical.encode(body))
    return digest.digest()


def text_tokens(text: str) -> int:
    """Count the tokens of `text`: one for each started group of four UTF-8 bytes."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


def json_tokens(value: object) -> int:
    """Count the tokens of a JSON value in its most compact encoding."""
    return -(-len(_canonical.encode(value)) // BYTES_PER_TOKEN)


def decode_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`.

    Raises:
        BadAsk: `raw` is not JSON, or not an object.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadAsk("We could not parse the JSON body of your request.") from error
    if not isinstance(body, dict):
        raise BadAsk("The JSON body of your request must be an object.")
    return body


def whole_number(body: Mapping[str, Any], key: str, *, least: int = 1) -> int | None:
    """Return the integer at `key`, None when it is absent or null.

    Raises:
        BadAsk: It is no integer, or below `least`.
    """
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BadAsk(f"Invalid value for '{key}': expected an integer of at least {least}.", param=key)
    return value


def stop_list(value: object) -> tuple[str, ...]:
    """Return the stop sequences in a string, a list of strings, or nothing."""
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, list):
        return tuple(item for item in value if isinstance(item, str) and item)
    return ()
