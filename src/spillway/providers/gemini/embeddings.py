"""Gemini's embeddings: `:batchEmbedContents` on AI Studio, `:predict` on Vertex."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from spillway.core.errors import InferenceError, ServerError
from spillway.core.reply import Usage
from spillway.core.request import GenerateRequest
from spillway.providers.encoding import Losses, encode_body, extra_fields, unsupported
from spillway.providers.gemini.contents import RUNTIME
from spillway.providers.reading import ABSENT, UNREADABLE, Count, count, is_set, unreadable

_AI_STUDIO = {"task_type": "taskType", "output_dimensionality": "outputDimensionality"}
_VERTEX = {"taskType": "task_type"}
_PARAMETERS = {
    "autoTruncate": "autoTruncate",
    "auto_truncate": "autoTruncate",
    "outputDimensionality": "outputDimensionality",
    "output_dimensionality": "outputDimensionality",
}
"""What Vertex takes for all texts together."""


class _Statistics(msgspec.Struct, gc=False):
    token_count: Count = None


class _Values(msgspec.Struct, gc=False):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct, gc=False):
    embeddings: _Values


class _Metadata(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: Count = None


class _Embedded(msgspec.Struct, gc=False):
    embeddings: list[_Values] | None = None
    predictions: list[_Prediction] | None = None
    usage: _Metadata | None = msgspec.field(default=None, name="usageMetadata")
    error: msgspec.Raw = ABSENT


_embedded = msgspec.json.Decoder(_Embedded).decode


def encode_embeddings(request: GenerateRequest, losses: Losses, *, model: str, vertex: bool) -> bytes:
    """Return the body; of `extra` the task's type and title go into every text's request, in each API's spelling.

    Raises:
        BadRequest: an input is a list of token numbers, or a field has no counterpart.
    """
    extra = extra_fields(request, RUNTIME)
    size = extra.pop("dimensions", request.dimensions)
    inputs = request.inputs or ()
    for at, text in enumerate(inputs):
        if not isinstance(text, str):
            raise unsupported(f"inputs[{at}]", RUNTIME, "only texts are embedded, no token numbers")
    if extra.pop("encoding_format", "float") not in {"float", "base64"}:
        losses.drop("extra.encoding_format", "vectors come as numbers")
    if extra.pop("user", None):
        losses.drop("extra.user", "the API has no such field")
    if vertex:
        return encode_body(_predict(inputs, extra, size))
    extra = {_AI_STUDIO.get(name, name): value for name, value in extra.items()}
    if size is not None:
        extra["outputDimensionality"] = size
    name = f"models/{model}"
    return encode_body(
        {"requests": [{"model": name, "content": {"parts": [{"text": text}]}, **extra} for text in inputs]}
    )


def _predict(inputs: Sequence[Any], extra: dict[str, Any], size: Any) -> dict[str, Any]:
    parameters: dict[str, Any] = {} if size is None else {"outputDimensionality": size}
    each: dict[str, Any] = {}
    for name, value in extra.items():
        if name in _PARAMETERS:
            parameters[_PARAMETERS[name]] = value
        else:
            each[_VERTEX.get(name, name)] = value
    body: dict[str, Any] = {"instances": [{"content": text, **each} for text in inputs]}
    if parameters:
        body["parameters"] = parameters
    return body


def decode_embeddings(
    body: bytes, refuse: Callable[[bytes], InferenceError], wanted: int
) -> tuple[tuple[tuple[float, ...], ...], Usage | None]:
    """Return the vectors, in the order of the inputs, and the usage where it is told.

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
    rows = whole.embeddings or [one.embeddings for one in whole.predictions or ()]
    if len(rows) != wanted:
        raise ServerError(f"the answer has {len(rows)} vectors for {wanted} inputs", reason="schema")
    usage = None
    if whole.usage is not None:
        usage = Usage(input_tokens=count(whole.usage.prompt_token_count))
    elif all(row.statistics is not None and row.statistics.token_count is not None for row in rows):
        usage = Usage(input_tokens=sum(count(row.statistics.token_count) for row in rows if row.statistics))
    return tuple(tuple(row.values) for row in rows), usage
