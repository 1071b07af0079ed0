"""Google's token endpoints: access tokens for service accounts, users and machines, and whether they are still good.

| route | grants for |
| --- | --- |
| `POST /token`, `…:jwt-bearer` | an assertion of the right shape; its signature is not checked |
| `POST /token`, `refresh_token` | a client's id and secret, and a refresh token |
| `POST /token`, `…:token-exchange` | a subject token |
| `GET /computeMetadata/v1/instance/service-accounts/default/token` | the header `Metadata-Flavor: Google` |
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from spillway.sim.clock import Clock, WallClock
from spillway.sim.wire.dialect import JSON

PREFIX = "ya29.sim-"
ROUTES = frozenset({"/token", "/computeMetadata/v1/instance/service-accounts/default/token"})

_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_LONGEST_S = 3600
_SKEW_S = 300
_NEEDED: Mapping[str, tuple[str, ...]] = {
    _JWT: ("assertion",),
    _EXCHANGE: ("subject_token", "audience"),
    "refresh_token": ("client_id", "client_secret", "refresh_token"),
}


class _Refused(Exception):
    """A form that gets no token."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


class TokenDesk:
    """Hands out access tokens and knows which of them are still good.

    Args:
        clock: Monotonic seconds, by which tokens end.
        wall: The clock that assertions are dated against.
        lifetime_s: How long a token is good.

    Attributes:
        outage: The status that every request is refused with, None for none.
    """

    def __init__(self, clock: Clock, wall: WallClock, *, lifetime_s: float) -> None:
        self._clock = clock
        self._wall = wall
        self._lifetime_s = lifetime_s
        self._ends: dict[str, float] = {}
        self.outage: int | None = None

    @property
    def issued(self) -> int:
        """How many tokens were handed out."""
        return len(self._ends)

    def refuses(self, key: str) -> bool:
        """Tell whether a key looks like one of these tokens and is not, or not any more."""
        return key.startswith(PREFIX) and self._clock() >= self._ends.get(key, 0.0)

    def revoke(self) -> None:
        """Let every token end now."""
        self._ends = dict.fromkeys(self._ends, 0.0)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a request to one of the `ROUTES`."""
        if self.outage is not None:
            return self._answer({"error": "temporarily_unavailable"}, status=self.outage)
        try:
            if request.path == "/token":
                self._check_form(dict(parse_qsl((await request.read()).decode("utf-8", "replace"))), request)
            elif request.headers.get("Metadata-Flavor") != "Google":
                raise _Refused("forbidden", "Missing Metadata-Flavor:Google header.")
        except _Refused as refused:
            return self._answer({"error": refused.code, "error_description": refused.why}, status=400)
        token = f"{PREFIX}{self.issued + 1}"
        self._ends[token] = self._clock() + self._lifetime_s
        lasts = int(self._lifetime_s) if self._lifetime_s == int(self._lifetime_s) else self._lifetime_s
        return self._answer({"access_token": token, "expires_in": lasts, "token_type": "Bearer"})

    def _check_form(self, form: Mapping[str, str], request: web.BaseRequest) -> None:
        if request.method != "POST":
            raise _Refused("invalid_request", "Method not allowed.")
        grant = form.get("grant_type", "")
        needed = _NEEDED.get(grant)
        if needed is None:
            raise _Refused("unsupported_grant_type", f"Invalid grant_type: {grant}")
        for name in needed:
            if not form.get(name):
                raise _Refused("invalid_request", f"Missing required parameter: {name}")
        if grant == _JWT:
            _check_assertion(form["assertion"], str(request.url), self._wall())

    def _answer(self, body: Any, *, status: int = 200) -> web.Response:
        headers = {"Content-Type": JSON, "Date": format_datetime(self._wall(), usegmt=True)}
        return web.Response(status=status, body=msgspec.json.encode(body), headers=headers)


def _check_assertion(assertion: str, address: str, now: datetime) -> None:
    parts = assertion.split(".")
    if len(parts) != 3 or not parts[2]:
        raise _Refused("invalid_grant", "Invalid JWT: it must have three segments")
    header, claims = (_segment(part) for part in parts[:2])
    if header.get("alg") != "RS256" or not header.get("kid"):
        raise _Refused("invalid_grant", "Invalid JWT header: alg must be RS256, and kid is required")
    for name in ("iss", "scope", "aud"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise _Refused("invalid_grant", f"Invalid JWT: {name} is required")
    if claims["aud"] != address:
        raise _Refused("invalid_grant", "Invalid JWT: aud must be the address of the token endpoint")
    begins, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(begins, int) or not isinstance(ends, int) or not 0 < ends - begins <= _LONGEST_S:
        raise _Refused("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes)")
    present = now.timestamp()
    if begins > present + _SKEW_S or ends < present or begins < present - _SKEW_S:
        raise _Refused("invalid_grant", "Invalid JWT: Token must be in a reasonable timeframe. Check iat and exp.")


def _segment(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, msgspec.DecodeError):
        value = None
    if not isinstance(value, dict):
        raise _Refused("invalid_grant", "Invalid JWT: a segment is no JSON object in base64url")
    return value
