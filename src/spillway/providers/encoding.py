"""Writing requests: one encoder, and one refusal for each thing that can't be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec

from spillway.core.errors import BadRequest
from spillway.core.request import GenerateRequest

RESERVED_HEADERS = frozenset(
    {
        "accept-encoding",
        "anthropic-version",
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "openai-organization",
        "openai-project",
        "proxy-authorization",
        "te",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-goog-api-key",
        "x-goog-user-project",
        "x-litellm-api-key",
    }
)
"""Headers that say who asks or how the body is framed: only a deployment sets them."""

RESERVED_FIELDS = frozenset({"model", "stream", "api_key", "api_base", "base_url"})
"""Body fields that say whom to ask and how: only a deployment sets them."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence | AbstractSet):
        return list(value)
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_encode = msgspec.json.Encoder(enc_hook=_plain).encode


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Return `body` as JSON.

    Raises:
        BadRequest: something in it has no JSON form.
    """
    try:
        return _encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise BadRequest(f"the request can't be written as JSON: {error}", reason="unsendable") from None


def unsupported(field: str, runtime: str, why: str) -> BadRequest:
    """Return the refusal of one field of a request by one runtime."""
    return BadRequest(f"{field}: {why}", provider=runtime, reason="unsupported", param=field)


class Losses:
    """What of a request a provider can't take: refused, or left out with a word, as the deployment says.

    Args:
        runtime: named in refusals.
        lenient: leave out and tell, instead of refusing.

    Attributes:
        warnings: what was left out so far, a line each.
    """

    __slots__ = ("_lenient", "runtime", "warnings")

    def __init__(self, runtime: str, *, lenient: bool = False) -> None:
        self.runtime = runtime
        self._lenient = lenient
        self.warnings: list[str] = []

    def drop(self, field: str, why: str) -> None:
        """Leave `field` out, or refuse the request for it.

        Raises:
            BadRequest: the deployment refuses what can't be carried.
        """
        if not self._lenient:
            raise unsupported(field, self.runtime, why)
        self.note(field, why)

    def note(self, field: str, why: str) -> None:
        """Leave out what no answer depends on, and tell; never a reason to refuse."""
        self.warnings.append(f"{field}: {why}")

    def __repr__(self) -> str:
        return f"<Losses {self.runtime} {'lenient' if self._lenient else 'strict'} {len(self.warnings)}>"


def extra_fields(request: GenerateRequest, runtime: str) -> dict[str, Any]:
    """Return the provider's own fields of a request, as a new dict.

    Raises:
        BadRequest: one of them is not the caller's to set.
    """
    extra = request.extra
    if not extra:
        return {}
    fields = dict(extra)
    for name in RESERVED_FIELDS & fields.keys():
        raise unsupported(f"extra.{name}", runtime, "only the deployment sets it")
    for name in ("functions", "function_call"):
        if fields.get(name):
            raise unsupported(f"extra.{name}", runtime, "use tools and tool_choice")
    return fields


def drop_openai_fields(fields: dict[str, Any], losses: Losses) -> None:
    """Take out what only OpenAI's API answers: several answers, log probabilities, audio."""
    if fields.pop("n", None) not in {None, 1}:
        losses.drop("extra.n", "the provider gives one answer a request")
    for name in ("logprobs", "top_logprobs"):
        if fields.pop(name, None):
            losses.drop(f"extra.{name}", "the provider gives no log probabilities")
    if "audio" in (fields.pop("modalities", None) or ()):
        losses.drop("extra.modalities", "the provider answers without audio")


def merged_headers(
    own: Mapping[str, str], more: Mapping[str, str], runtime: str, *, kind: type[dict[str, str]]
) -> Mapping[str, str]:
    """Return a deployment's headers and a request's; a deployment's credentials can't be replaced.

    Raises:
        BadRequest: a header is reserved, or no header at all.
    """
    headers = kind(own)
    for name, value in more.items():
        lowered = name.lower()
        if lowered in RESERVED_HEADERS:
            raise unsupported(f"extra_headers.{lowered}", runtime, "only the deployment sets it")
        if not isinstance(value, str) or "\r" in value or "\n" in value or "\0" in value:
            raise unsupported(f"extra_headers.{lowered}", runtime, "it is not a header's value")
        if lowered in headers and lowered in JOINED_HEADERS:
            value = f"{headers[lowered]},{value}"  # noqa: PLW2901 # both lists are wanted
        headers[lowered] = value
    return headers


JOINED_HEADERS = frozenset({"anthropic-beta", "x-litellm-tags"})
"""List-valued headers, to which a request adds."""


def stop_list(stop: str | Sequence[str] | None) -> list[str] | None:
    """Return stop sequences as a list, None when there are none."""
    if stop is None:
        return None
    stops = [stop] if isinstance(stop, str) else list(stop)
    return stops or None
