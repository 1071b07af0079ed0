"""The body of a request: read to a limit of size and of patience, unpacked, and taken for a JSON object or refused."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, ParamSpec, TypeVar, cast

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.places import without_places
from spillway.gateway.heads import Unfit
from spillway.gateway.patience import Patience
from spillway.gateway.timing import Timing

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a body, as it comes and after decompression."""

BODY_TIMEOUT_S = 30.0
"""How long a caller may take between two pieces of a body, and what it is ahead of `SLOWEST_BODY` at the start."""

SLOWEST_BODY = 16 * 1024
"""Bytes a second that a body must come to on the whole."""

DEEPEST = 128
"""Levels of objects and lists in each other."""

DENSEST = 1_000_000
"""Objects and lists of one body: a million takes some 100 MB, and holds the loop up for a fifth of a second."""

_AT_ONCE = 256 * 1024
"""Bytes that are unpacked on the loop; more than that is a thread's work."""

_PLAIN = frozenset({"", "identity"})
_PACKED = frozenset({"gzip", "x-gzip"})

_decode = msgspec.json.Decoder().decode

Asked = ParamSpec("Asked")
T = TypeVar("T")

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def read_body(receive: Receive, headers: Mapping[str, str], timing: Timing | None = None) -> Coroutine[Any, Any, bytes]:
    """Return the whole body, decompressed, to be awaited at once.

    Args:
        timing: of the running loop, if it is known.

    Raises:
        Unfit: it is longer than `BODY_LIMIT` (413), came too slowly (408), in a coding that is not taken (415), or not
            to its end, because the caller left or its chunks are none (400): the two can't be told apart.
        BadRequest: it is not what its coding says.
    """
    coding = headers.get("content-encoding")
    plain = coding is None or coding.strip().lower() in _PLAIN
    if not plain and str(coding).strip().lower() not in _PACKED:
        raise Unfit(415, "content-encoding must be gzip or identity")
    if int(headers.get("content-length", "0")) > BODY_LIMIT:
        raise Unfit(413, f"the body is larger than {BODY_LIMIT} bytes")
    pieces = _pieces(receive, timing or Timing(asyncio.get_running_loop()))
    return pieces if plain else _inflated(pieces)


async def _pieces(receive: Receive, timing: Timing) -> bytes:
    loop = timing.loop
    began = loop.time()
    pieces: list[bytes] = []
    size = 0
    try:
        with Patience(began + BODY_TIMEOUT_S, loop, timing.late) as patience:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Unfit(400, "the body ended early, or its chunks can't be read")
                piece = message.get("body", b"")
                size += len(piece)
                if size > BODY_LIMIT:
                    raise Unfit(413, f"the body is larger than {BODY_LIMIT} bytes")
                if piece:
                    pieces.append(piece)
                if not message.get("more_body", False):
                    break
                if piece:
                    now = loop.time()
                    patience.until(BODY_TIMEOUT_S + min(now, began + size / SLOWEST_BODY))
    except TimeoutError:
        raise Unfit(408, "the body came too slowly") from None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _inflated(pieces: Coroutine[Any, Any, bytes]) -> bytes:
    """Return a gzip body unpacked, never more than `BODY_LIMIT` of it in memory, and what is large in a thread."""
    body = await pieces
    inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = inflate.decompress(body, _AT_ONCE)
        if len(plain) == _AT_ONCE and not inflate.eof:
            plain = await asyncio.to_thread(_rest, plain, inflate)
    except zlib.error:
        raise BadRequest("the body is not gzip", reason="coding") from None
    if not inflate.eof or inflate.unused_data:
        raise BadRequest("the gzip body is cut off or goes on after its end", reason="coding")
    return plain


def _rest(first: bytes, inflate: zlib._Decompress) -> bytes:
    """Return `first` and all that follows; grown in place, so that a bomb takes little more than the limit."""
    plain = bytearray(first)
    while not inflate.eof and (piece := inflate.decompress(inflate.unconsumed_tail, 4 * _AT_ONCE)):
        plain += piece
        if len(plain) > BODY_LIMIT:
            raise Unfit(413, f"the body is larger than {BODY_LIMIT} bytes, unpacked")
    return bytes(plain)


def understood(read: Callable[Asked, T], *args: Asked.args, **options: Asked.kwargs) -> T:
    """Return what `read` makes of a body.

    Raises:
        BadRequest: also where a field has a type that `read` does not expect: whatever it stumbles over, the caller
            wrote it.
    """
    try:
        return read(*args, **options)
    except (TypeError, AttributeError, LookupError, ValueError, RecursionError) as error:
        raise BadRequest("a field of the body has a type that it can't have", reason="json") from error


def check_content_type(headers: Mapping[str, str]) -> None:
    """Return if a body is said to be JSON, or nothing is said of it by anything but a browser.

    A page may have a browser send a form or plain text to any address without asking; JSON it may not.

    Raises:
        Unfit: 415.
    """
    kind = headers.get("content-type")
    if kind == "application/json":
        return
    if kind is None:
        if "origin" in headers:
            raise Unfit(415, "content-type must be application/json")
        return
    essence = kind.partition(";")[0].strip().lower()
    if essence != "application/json" and not (essence.startswith("application/") and essence.endswith("+json")):
        raise Unfit(415, f"content-type must be application/json, not {essence[:100]!r}")


def json_object(raw: bytes) -> dict[str, Any]:
    """Return a body as a JSON object, without the fields that name an endpoint or a key.

    Raises:
        BadRequest: it is none, nests deeper than `DEEPEST`, or has more parts than `DENSEST`.
    """
    parts = raw.count(b"{") + raw.count(b"[")
    if parts > DENSEST:
        raise BadRequest(f"the body has more than {DENSEST} objects and lists", reason="json")
    try:
        value = _decode(raw)
    except RecursionError:
        raise BadRequest("the body nests too deeply", reason="json") from None
    except ValueError:
        raise BadRequest("the body is not JSON", reason="json") from None
    if type(value) is not dict:
        raise BadRequest("the body is not a JSON object", reason="json")
    if parts > DEEPEST and _nests_deeper(value, DEEPEST):
        raise BadRequest(f"the body nests deeper than {DEEPEST} levels", reason="json")
    return cast("dict[str, Any]", without_places(value))


def _nests_deeper(value: dict[str, Any], limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            part
            for whole in level
            for part in (whole.values() if type(whole) is dict else whole)
            if type(part) is dict or type(part) is list
        ]
        if not level:
            return False
    return True
