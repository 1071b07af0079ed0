"""One question to a token endpoint, over our own HTTP client, and what its answer grants.

Source: RFC 6749, section 5.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Self

import msgspec

from spillway.core.clock import WallClock, sleep, wall_now
from spillway.core.errors import ConfigError, InferenceError
from spillway.core.masked import Masked
from spillway.core.options import Timeouts
from spillway.providers.reading import decode_object
from spillway.providers.wire_runner import USER_AGENT
from spillway.remote.classify import one_line, parse_http_date
from spillway.remote.http import HttpClient, HttpRequest, build_client

FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
TRIES = 3
TIMEOUT_S = 10.0

_ANSWER_LIMIT = 256 * 1024
_BACKOFF_S = 0.2
_SHOWN = 200


class Answer(msgspec.Struct, frozen=True):
    """What an endpoint said; `body` may hold a secret."""

    status: int
    headers: Mapping[str, str]
    body: Masked


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A token, or why there is none.

    Attributes:
        expires_at: the loop's seconds.
        refused: the endpoint's word for its refusal, empty for none.
        why: the same in more words.
        server_skew_s: how far the endpoint's clock is ahead of ours, None when it does not tell.
    """

    token: Masked = Masked("")  # text, and immutable
    expires_at: float = 0.0
    refused: str = ""
    why: str = ""
    server_skew_s: float | None = None

    def granted(self, place: str) -> Self:
        """Return it if it holds a token.

        Raises:
            ConfigError: it does not.
        """
        if self.refused:
            raise ConfigError(f"{place}: no access token: {self.why}")
        return self


class TokenExchange:
    """Asks token endpoints; a client is made for each token and closed after it, for there is one an hour.

    Args:
        build_client: makes the client.
        wall: the clock that an endpoint's Date is compared with.
    """

    __slots__ = ("_build_client", "_wall")

    def __init__(self, build_client: Callable[[], HttpClient], *, wall: WallClock = wall_now) -> None:
        self._build_client = build_client
        self._wall = wall

    async def post(self, address: str, form: bytes, place: str) -> Grant:
        """Return what the endpoint grants for a form.

        Raises:
            ConfigError: it does not answer.
        """
        return self._grant(await self.send(HttpRequest("POST", address, FORM, form), place))

    async def get(self, address: str, headers: Mapping[str, str], place: str) -> Grant:
        """Return what a metadata server grants; see `post`."""
        return self._grant(await self.send(HttpRequest("GET", address, headers), place))

    async def send(self, request: HttpRequest, place: str) -> Answer:
        """Return an answer; what a moment later may be right is asked for again.

        Raises:
            ConfigError: none came.
        """
        client = self._build_client()
        why = ""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                for attempt in range(TRIES):
                    if attempt:
                        await sleep(_BACKOFF_S * 2**attempt)
                    try:
                        answer = await _ask(client, request)
                    except InferenceError as error:
                        why = one_line(str(error), _SHOWN)
                        continue
                    if answer.status < 500 and answer.status != 429:
                        return answer
                    why = f"HTTP {answer.status}"
        except TimeoutError:
            why = why or f"no answer within {TIMEOUT_S:g} s"
        finally:
            await client.aclose()
        raise ConfigError(f"{place}: the token endpoint does not answer: {why}")

    def _grant(self, answer: Answer) -> Grant:
        received_at = asyncio.get_running_loop().time()
        said = decode_object(answer.body.encode())
        token = said.get("access_token")
        now = self._wall()
        dated = parse_http_date(answer.headers.get("date") or "", now)
        skew = None if dated is None else (dated - now).total_seconds()
        if 200 <= answer.status < 300 and isinstance(token, str) and token:
            lasts = said.get("expires_in")
            expires_at = received_at + float(lasts) if isinstance(lasts, int | float) and lasts > 0 else float("inf")
            return Grant(token=Masked(token.rstrip(".")), expires_at=expires_at, server_skew_s=skew)
        return Grant(refused=_code(said) or f"HTTP {answer.status}", why=_why(said, answer.status), server_skew_s=skew)


def plain_exchange() -> TokenExchange:
    """Return one whose clients use no proxy and the usual certificate authorities."""
    return TokenExchange(lambda: build_client(Timeouts(), USER_AGENT))


async def _ask(client: HttpClient, request: HttpRequest) -> Answer:
    response = await client.send(request)
    try:
        body = await response.read(_ANSWER_LIMIT)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, headers, Masked(body.decode("utf-8", "replace")))
    finally:
        response.abort()


def _code(said: Mapping[str, Any]) -> str:
    error = said.get("error")
    if isinstance(error, Mapping):
        error = error.get("status") or error.get("code")
    return str(error or "")


def _why(said: Mapping[str, Any], status: int) -> str:
    error = said.get("error")
    words = said.get("error_description") or (error.get("message") if isinstance(error, Mapping) else None)
    told = f"{_code(said) or f'HTTP {status}'}{f': {words}' if isinstance(words, str) else ''}"
    return one_line(told, _SHOWN)
