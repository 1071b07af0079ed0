"""Credentials of the kinds that only google-auth knows: federated, impersonated and other external ones.

google-auth is synchronous: it runs in a thread, and what it wants from the network it gets through our client, which
stays on the loop.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as TooLate
from datetime import UTC
from typing import Any

from spillway.core.clock import wall_now
from spillway.core.errors import ConfigError
from spillway.core.masked import Masked
from spillway.providers.gemini.token_exchange import TIMEOUT_S, Answer, Grant, TokenExchange
from spillway.remote.classify import one_line
from spillway.remote.http import HttpRequest

_AWS = "urn:ietf:params:aws:token-type:aws4_request"
_SHOWN = 200


class _Reply:
    """An answer as google-auth reads it."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.data = answer.body.encode()


class _Door:
    """What google-auth calls for each request, in its thread; it is answered from the loop.

    Args:
        loop: where the client lives.
        exchange: what sends.
        place: the credential's, for messages.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, exchange: TokenExchange, place: str) -> None:
        self._loop = loop
        self._exchange = exchange
        self._place = place

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Reply:
        content = body.encode() if isinstance(body, str) else body or b""
        asking = self._exchange.send(HttpRequest(method, url, dict(headers or {}), content), self._place)
        answer = asyncio.run_coroutine_threadsafe(asking, self._loop)
        try:
            return _Reply(answer.result(min(timeout or TIMEOUT_S, TIMEOUT_S)))
        except TooLate:
            answer.cancel()
            raise ConfigError(f"{self._place}: the token endpoint does not answer") from None


async def fetch(info: Mapping[str, Any], scope: str, exchange: TokenExchange, place: str) -> Grant:
    """Return what a credential that google-auth understands grants.

    Raises:
        ConfigError: google-auth is not installed, does not know it, or gets no token for it.
    """
    loop = asyncio.get_running_loop()
    door = _Door(loop, exchange, place)
    token, lasts_s = await asyncio.to_thread(_refreshed, info, scope, door, place)
    return Grant(token=token, expires_at=loop.time() + lasts_s)


def _refreshed(info: Mapping[str, Any], scope: str, door: _Door, place: str) -> tuple[Masked, float]:
    kind = str(info.get("type"))
    try:
        make = _maker(kind, info)
    except ImportError:
        raise ConfigError(
            f"{place}: a credential of type {one_line(kind, 40)} needs the extra vertex: pip install 'spillway[vertex]'"
        ) from None
    if make is None:
        raise ConfigError(f"{place}: no access token: there are no credentials of type {one_line(kind, 40)}")
    try:
        found = make({**info}, scopes=[scope])
        found.refresh(door)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the library raises means that there is no token
        raise ConfigError(f"{place}: no access token: {one_line(str(error), _SHOWN)}") from None
    ends = found.expiry
    lasts_s = float("inf") if ends is None else (ends.replace(tzinfo=UTC) - wall_now()).total_seconds()
    return Masked(found.token), lasts_s


def _maker(kind: str, info: Mapping[str, Any]) -> Callable[..., Any] | None:
    """Return what makes credentials of a type, None for one that is unknown; ImportError without google-auth."""
    module = importlib.import_module
    made: Callable[..., Any] | None = None
    if kind == "impersonated_service_account":
        credentials = module("google.auth.impersonated_credentials").Credentials
        made = credentials.from_impersonated_service_account_info
    elif kind == "external_account_authorized_user":
        made = module("google.auth.external_account_authorized_user").Credentials.from_info
    elif kind == "external_account":
        source = info.get("credential_source")
        if info.get("subject_token_type") == _AWS:
            made = module("google.auth.aws").Credentials.from_info
        elif isinstance(source, Mapping) and "executable" in source:
            made = module("google.auth.pluggable").Credentials.from_info
        else:
            made = module("google.auth.identity_pool").Credentials.from_info
    return made
