"""One line of the input: what it asks, or what is wrong with it."""

from __future__ import annotations

from typing import Any

import msgspec

from spillway.core.chat_request import read_chat, read_embeddings
from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest, as_messages

CHAT_URL = "/v1/chat/completions"
EMBEDDINGS_URL = "/v1/embeddings"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line that can be sent.

    Attributes:
        number: 1-based, over every line of the input.
        model: the deployment or group it names, None when it names none.
        stream: whether the provider is to be asked for a stream.
    """

    number: int
    custom_id: str
    model: str | None
    request: GenerateRequest
    stream: bool = False


class BadLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that nobody is asked; its `custom_id` is the id where one can be read, else the line's number."""

    number: int
    custom_id: str
    message: str


class _Ids(msgspec.Struct):
    custom_id: Any = None
    id: Any = None


_OUTSIDE = frozenset({"custom_id", "id", "method", "url"})

_ids = msgspec.json.Decoder(_Ids)
_any = msgspec.json.Decoder()


def parse_line(raw: bytes, number: int, *, run: str = "") -> Line | BadLine:
    """Return what the line with this number asks; it is not blank.

    Args:
        run: stands before the line's number in the request's idempotency id, the same whenever this line is sent.
    """
    custom_id = str(number)
    try:
        record = _any.decode(raw)
        if not isinstance(record, dict):
            raise BadRequest("the line is not a JSON object")
        custom_id = _custom_id(record.get("custom_id"), record.get("id"), number)
        return _read(record, number, custom_id, f"{run}-{number}")
    except RecursionError:
        return BadLine(number=number, custom_id=read_id(raw, number), message="the line nests too deeply")
    except msgspec.ValidationError as error:
        return BadLine(number=number, custom_id=custom_id, message=str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return BadLine(number=number, custom_id=read_id(raw, number), message=f"not JSON: {error}")
    except BadRequest as error:
        return BadLine(number=number, custom_id=custom_id, message=error.message)


def read_id(raw: bytes, number: int) -> str:
    """Return the `custom_id` that the output has for a line, whatever else is wrong with it."""
    try:
        ids = _ids.decode(raw)
        return _custom_id(ids.custom_id, ids.id, number)
    except (msgspec.DecodeError, UnicodeDecodeError, BadRequest, RecursionError):
        return str(number)


def _custom_id(custom_id: Any, plain: Any, number: int) -> str:
    given = plain if custom_id is None else custom_id
    if given is None:
        return str(number)
    if isinstance(given, str):
        return given
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    raise BadRequest("the id is neither text nor a whole number")


def _read(record: dict[str, Any], number: int, custom_id: str, idempotency_id: str) -> Line:
    url = record.get("url") or CHAT_URL
    method = record.get("method") or "POST"
    if not isinstance(method, str) or method.upper() != "POST":
        raise BadRequest(f"method must be POST, not {str(method)[:50]!r}")
    if url not in {CHAT_URL, EMBEDDINGS_URL}:
        raise BadRequest(f"url must be {CHAT_URL} or {EMBEDDINGS_URL}, not {str(url)[:200]!r}")
    body = record.get("body")
    if body is None:
        body = {key: value for key, value in record.items() if key not in _OUTSIDE}
    elif not isinstance(body, dict):
        raise BadRequest("body is not an object")
    if url == EMBEDDINGS_URL:
        asked = read_embeddings(body, idempotency_id=idempotency_id)
    else:
        if "body" not in record and body.get("messages") is None and body.get("prompt") is not None:
            body["messages"] = as_messages(body.pop("prompt"))
        elif body.get("messages") is None:
            raise BadRequest(
                "messages is missing" if "body" in record else "the line has neither body nor messages nor prompt"
            )
        asked = read_chat(body, idempotency_id=idempotency_id)
    return Line(number=number, custom_id=custom_id, model=asked.model, request=asked.request, stream=asked.stream)
