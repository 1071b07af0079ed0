"""Bounds of what a request can cost, before it is sent, and what one has cost whose usage never came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from spillway.core.reply import Usage

if TYPE_CHECKING:
    from datetime import datetime

    from spillway.core.request import GenerateRequest
    from spillway.remote.cost.prices import PriceTable

MESSAGE_TOKENS = 16
"""What a message's role and delimiters come to at most."""

IMAGE_TOKENS = 4_784
"""An image: Anthropic's high-resolution maximum; other models stay below it, but gpt-4o-mini (48,169 tokens)."""

ORIGINAL_IMAGE_TOKENS = 10_000
"""An image with `detail` `original`: OpenAI's maximum of patches."""

PAGE_TOKENS = 7_784
"""A page of a document: 3,000 tokens of text, Anthropic's published maximum, and the page as an image."""

PAGE_CHARS = 2_048
"""Base64 characters that a page takes at least."""

MAX_PAGES = 1_000
"""Pages of a document that any provider reads."""

UNSEEN_PAGES = 100
"""Pages that a document is taken to have when the request only names it."""

AUDIO_CHARS_PER_TOKEN = 16
"""Base64 characters of audio that make a token: 32 tokens a second at 4 kbit/s."""

_TEXT = "data:text/"
_TEXT_PARTS = {"text", "input_text", "output_text"}
_OUTPUT_FIELDS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


class CostEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """The most a request can cost.

    Attributes:
        input_tokens: an upper bound of its input.
        max_output_tokens: the longest answer it allows.
        cost_usd: what these cost together; None when the price is unknown.
    """

    input_tokens: int
    max_output_tokens: int
    cost_usd: float | None


def input_bound(request: GenerateRequest) -> int:
    """Return an upper bound of the request's input tokens.

    A token is at least one byte of UTF-8, so text and tools count their bytes; a message counts 16 more, an image, page
    or second of audio what its providers publish as the most.

    Complexity: O(length); below 1 µs for one message of ASCII text.
    """
    total = 0
    for message in request.messages:
        content = message.get("content")
        if type(content) is str:
            total += MESSAGE_TOKENS + (len(content) if content.isascii() else _bytes(content))
        else:
            total += MESSAGE_TOKENS + _content(content)
        if len(message) > 2:
            total += _other_keys(message)
    if request.tools is not None:
        total += _json(request.tools)
    if request.response_format is not None:
        total += _json(request.response_format)
    if request.extra is not None:
        total += _json(request.extra)
    if request.inputs is not None:
        total += sum(MESSAGE_TOKENS + (_bytes(each) if isinstance(each, str) else len(each)) for each in request.inputs)
    return total


def output_bound(request: GenerateRequest, output_limit: int, *, most: int | None = None) -> int:
    """Return an upper bound of the request's output tokens, over all the answers it asks for.

    Args:
        output_limit: the most tokens the model is taken to answer with, for a request that sets no maximum.
        most: the model's published limit, which no answer passes whatever is asked; None: not known.
    """
    if request.inputs is not None:
        return 0
    longest = request.max_tokens
    extra = request.extra
    if extra is None:
        longest = output_limit if longest is None else longest
        return longest if most is None or longest < most else most
    if longest is None:
        given = [extra[field] for field in _OUTPUT_FIELDS if _is_count(extra.get(field))]
        longest = max(given, default=output_limit)
    if most is not None:
        longest = min(longest, most)
    return longest * _answers(extra)


def service_of(fields: Mapping[str, Any] | None) -> str | None:
    """Return the service that the further fields of a request or of an answer name, None for the standard one.

    OpenAI and Gemini call it `service_tier`, Anthropic's fast mode is a `speed`.
    """
    if fields is None:
        return None
    if fields.get("speed") == "fast":
        return "fast"
    named = fields.get("service_tier") or fields.get("serviceTier")
    return named.lower() if type(named) is str else None


def cost_bound(
    request: GenerateRequest, prices: PriceTable, *, input_tokens: int, output_tokens: int, when: datetime
) -> int:
    """Return the most that a request of at most so many tokens costs, in pico-USD: its service and media priced in."""
    media = prices.knows_media and has_media(request)
    return prices.estimate(input_tokens, output_tokens, when, service=service_of(request.extra), media=media)


def has_media(request: GenerateRequest) -> bool:
    """Return whether the input may hold anything but text."""
    for message in request.messages:
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, Sequence):
            return True
        if any(not isinstance(part, str) and not _is_text(part) for part in content):
            return True
    return request.extra is not None and "contents" in request.extra


def lost_attempt_cost(
    *,
    sent: bool,
    stream: bool,
    reserved_pico: int,
    input_tokens: int,
    output_tokens_seen: int,
    prices: PriceTable | None,
    when: datetime,
) -> int:
    """Return what an attempt is taken to have cost that ended without a report of its usage, in pico-USD.

    Args:
        sent: whether the whole body was on the wire; before that nothing is billed.
        stream: whether what came can be seen; of a unary attempt nothing can, so the reservation stands.
        reserved_pico: what was set aside for it.
        input_tokens: the estimated input.
        output_tokens_seen: the estimated output that came.
    """
    if not sent:
        return 0
    if not stream:
        return reserved_pico
    if prices is None:
        return 0
    return prices.cost(Usage(input_tokens=input_tokens, output_tokens=output_tokens_seen), when)


def _answers(extra: Mapping[str, Any]) -> int:
    """Return how many answers are asked for."""
    config = extra.get("generationConfig")
    counts = (extra.get("n"), config.get("candidateCount") if isinstance(config, Mapping) else None)
    return max((count for count in counts if _is_count(count)), default=1)


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("text"), str) and part.get("type", "text") in _TEXT_PARTS


def _is_count(value: Any) -> TypeGuard[int]:
    return type(value) is int and value > 0


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _content(content: Any) -> int:
    if content is None:
        return 0
    if isinstance(content, str):
        return _bytes(content)
    if isinstance(content, Sequence):
        return sum(_part(part) for part in content)
    return _json(content)


def _part(part: Any) -> int:
    """Return the bound of one part of a message, by the names that the providers' formats give it."""
    if isinstance(part, str):
        return _bytes(part)
    if not isinstance(part, Mapping):
        return _json(part)
    kind = part.get("type")
    if not isinstance(kind, str):
        return _json(part)
    if kind in {"text", "input_text", "output_text"} and isinstance(part.get("text"), str):
        return _bytes(part["text"])
    if kind in {"image_url", "input_image", "image"}:
        return _image(part)
    if kind == "input_audio":
        return _longest_text(part) // AUDIO_CHARS_PER_TOKEN + 1
    if kind in {"file", "input_file", "document"}:
        return _document(part)
    if kind == "tool_result":
        return MESSAGE_TOKENS + _content(part.get("content"))
    return _json(part)


def _image(part: Mapping[str, Any]) -> int:
    image = part.get("image_url")
    detail = image.get("detail") if isinstance(image, Mapping) else part.get("detail")
    return ORIGINAL_IMAGE_TOKENS if detail == "original" else IMAGE_TOKENS


def _document(part: Mapping[str, Any]) -> int:
    source = part.get("source")
    if isinstance(source, Mapping) and source.get("type") == "text":
        return _json(part)
    file = part.get("file")
    data = file.get("file_data") if isinstance(file, Mapping) else None
    if isinstance(data, str) and data.startswith(_TEXT):
        return _json(part)
    inline = _longest_text(part)
    pages = min(inline // PAGE_CHARS + 1, MAX_PAGES) if inline > PAGE_CHARS else UNSEEN_PAGES
    return pages * PAGE_TOKENS


def _longest_text(value: Any) -> int:
    """Return the length of the longest text anywhere inside: the data of a part that carries any."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return max((_longest_text(inner) for inner in value.values()), default=0)
    return 0


def _other_keys(message: Mapping[str, Any]) -> int:
    return sum(_json(value) for key, value in message.items() if key not in {"role", "content"} and value is not None)


def _json(value: Any) -> int:
    """Return the bytes of `value` as JSON, or as Python prints it when it is none."""
    try:
        return len(_encoder.encode(value))
    except (TypeError, ValueError, RecursionError):
        return _bytes(repr(value))


def _as_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"not JSON: {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_as_plain)
