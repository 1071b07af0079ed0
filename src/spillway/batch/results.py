"""Lines of the output: how they are written, and what is read back of them."""

from __future__ import annotations

from typing import Any

import msgspec

from spillway.core.chat_shape import completion, embeddings_list
from spillway.core.errors import InferenceError
from spillway.core.reply import Embeddings, Tokens

PREFIX = "line-"


class Written(msgspec.Struct):
    """What a resumed run wants to know of a line that is on file."""

    id: str
    custom_id: str
    error: WrittenError | None


class WrittenError(msgspec.Struct):
    """The error of a line that is on file."""

    code: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Written)


def answer_line(number: int, custom_id: str, answer: Tokens | Embeddings, model: str) -> bytes:
    """Return the output line of an answer, an OpenAI chat completion or list of embeddings.

    Nothing in it depends on when or by which process it was written: its id is the line's, and `created` is 0.
    """
    if isinstance(answer, Embeddings):
        body = embeddings_list(answer, model=model)
    else:
        body = completion(answer, model=model, completion_id=f"chatcmpl-{PREFIX}{number}", created=0)
    response = {"status_code": 200, "request_id": answer.request_id, "body": body}
    return _line(number, custom_id, response, None)


def error_line(
    number: int, custom_id: str, code: str, message: str, *, attempts: int = 0, deployment: str | None = None
) -> bytes:
    """Return the output line of a request that no further attempt can answer."""
    error = {"code": code, "message": message, "attempts": attempts, "deployment": deployment}
    return _line(number, custom_id, None, error)


def failure_line(number: int, custom_id: str, error: InferenceError, attempts: int) -> bytes:
    """Return the output line of a request that ended in `error` after so many sent attempts in all."""
    return error_line(
        number, custom_id, error.code, error.message, attempts=attempts, deployment=error.deployment or None
    )


def read_written(line: bytes) -> tuple[int, Written]:
    """Return the number and the rest of what matters of a line that is on file.

    Raises:
        ValueError: it is not a line of ours.
    """
    try:
        written = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None
    number = written.id.removeprefix(PREFIX)
    if number == written.id or not number.isascii() or not number.isdecimal() or number[0] == "0":
        raise ValueError(f"{written.id[:50]!r} is not the id of a line")
    return int(number), written


def _line(number: int, custom_id: str, response: Any, error: Any) -> bytes:
    record = {"id": f"{PREFIX}{number}", "custom_id": custom_id, "response": response, "error": error}
    return _encoder.encode(record) + b"\n"
