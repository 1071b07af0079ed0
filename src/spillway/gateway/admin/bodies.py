"""What an operator's request says: its body, strictly read, and proof that no web page of others wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from spillway.core.errors import BadRequest
from spillway.runtime.config_errors import near, quoted

if TYPE_CHECKING:
    from spillway.gateway.exchange import Exchange

LARGEST = 16 * 1024
LONGEST_S = 7 * 86_400.0
DEFAULT_OPEN_S = 300.0

Limit = int | None


class Nothing(msgspec.Struct, frozen=True):
    """A body that says nothing."""


class BreakerAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Open a circuit for so long, or close it: for so long whatever comes, or without a time to be judged anew."""

    action: Literal["open", "close"]
    for_s: float | None = None


class DrainAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Take a deployment out of service, or put it back."""

    action: Literal["drain", "resume"] = "drain"


class LimitsAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Have other limits for so long, or until they are reset; what is left out stays as it is configured."""

    action: Literal["set", "reset"] = "set"
    requests_per_minute: Limit = None
    tokens_per_minute: Limit = None
    input_tokens_per_minute: Limit = None
    output_tokens_per_minute: Limit = None
    concurrent_requests: Limit = None
    for_s: float | None = None

    def asked(self) -> dict[str, int]:
        """Return the limits that it names."""
        names = (name for name in self.__struct_fields__ if name not in {"action", "for_s"})
        return {name: value for name in names if (value := getattr(self, name)) is not None}


Ask = TypeVar("Ask", bound=msgspec.Struct)


async def read(exchange: Exchange, kind: type[Ask]) -> Ask:
    """Return the body of an operator's action; an empty one is `{}`.

    Raises:
        BadRequest: it is not such a body.
    """
    raw = await exchange.body()
    if len(raw) > LARGEST:
        raise BadRequest(f"the body is longer than {LARGEST} bytes")
    return understand(raw or b"{}", kind)


def understand(raw: bytes, kind: type[Ask]) -> Ask:
    """Return `raw` as `kind`.

    Raises:
        BadRequest: it is not; one line that names the field and the nearest that there is.
    """
    try:
        said: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(said, dict):
        raise BadRequest("the body is not a JSON object")
    fields = kind.__struct_fields__
    for name in said:
        if name not in fields:
            hint = near(name, fields) or f"known: {', '.join(fields) or 'none'}"
            raise BadRequest(f"unknown field {quoted(name)} ({hint})")
    try:
        ask = msgspec.convert(said, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error).replace("`$.", "`")) from None
    _check(ask)
    return ask


def _check(ask: msgspec.Struct) -> None:
    for_s = getattr(ask, "for_s", None)
    if for_s is not None and not 0.0 < for_s <= LONGEST_S:
        raise BadRequest(f"for_s must be above 0 and at most {LONGEST_S:.0f} (a week)")
    if not isinstance(ask, LimitsAsk):
        return
    asked = ask.asked()
    for name, value in asked.items():
        if not 1 <= value <= 10**12:
            raise BadRequest(f"{name} must be at least 1")
    if ask.action == "set" and not asked:
        raise BadRequest('no limit is named; {"action": "reset"} brings back those of the file')
    if ask.action == "reset" and (asked or for_s is not None):
        raise BadRequest("reset takes no limit and no time")


def is_json(exchange: Exchange) -> bool:
    """Whether the body is declared as JSON, which no plain form of a web page can do."""
    kind = exchange.headers.get("content-type", "").partition(";")[0]
    return kind.strip().lower() == "application/json"
