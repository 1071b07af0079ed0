"""Access tokens for Vertex, of whatever Google calls a credential.

    service account      a signed assertion (RFC 7523) is exchanged at the `token_uri` of the key file
    authorized user      what `gcloud auth application-default login` leaves: a refresh token is exchanged
    metadata server      where a program runs on Google's own machines: it hands tokens out
    anything else        federated and impersonated identities: google-auth does the work, through our HTTP client

Sources: https://developers.google.com/identity/protocols/oauth2/service-account, https://google.aip.dev/auth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from spillway.core.clock import WallClock, wall_now
from spillway.core.errors import ConfigError
from spillway.core.masked import Masked
from spillway.providers.gemini.token_exchange import Grant, TokenExchange
from spillway.remote.session import CredentialProvider, FileCredential, Token

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 # an address, not a token
METADATA_HOST = "metadata.google.internal"

_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE_S = 3600
_SKEW_S = 30.0
"""Clocks that are this close to each other are taken for right."""


class GoogleToken(Token):
    """An access token, and the project whose quota it is to be charged to, where the credential names one."""

    __slots__ = ("quota_project",)

    def __init__(self, value: str, *, expires_at: float, quota_project: str | None = None) -> None:
        super().__init__(value, expires_at=expires_at)
        self.quota_project = quota_project


class GoogleCredential:
    """A key file's access tokens; the file is read again for each, so that a new key is taken up.

    Args:
        source: yields the key file's JSON.
        exchange: what tokens are fetched with.
        wall: the clock that assertions are dated by; a token endpoint that says otherwise is believed.
    """

    __slots__ = ("_exchange", "_skew_s", "_source", "_wall", "place")

    def __init__(self, source: CredentialProvider, exchange: TokenExchange, *, wall: WallClock = wall_now) -> None:
        self._source = source
        self._exchange = exchange
        self._wall = wall
        self._skew_s = 0.0
        self.place = str(getattr(source, "place", "the credentials given"))

    async def token(self) -> GoogleToken:
        """Return a new access token.

        Raises:
            ConfigError: the key file can't be read, is none, or is not taken; or the token endpoint does not answer.
        """
        info = _key_file((await self._source.token()).reveal(), self.place)
        kind = info.get("type")
        if kind == "service_account":
            grant = await self._of_service_account(info)
        elif kind == "authorized_user":
            grant = await self._of_user(info)
        else:
            from spillway.providers.gemini.google_auth_bridge import fetch  # noqa: PLC0415 # needs the extra

            grant = await fetch(info, SCOPE, self._exchange, self.place)
        return GoogleToken(grant.token, expires_at=grant.expires_at, quota_project=info.get("quota_project_id"))

    async def _of_service_account(self, info: Mapping[str, Any]) -> Grant:
        for name in ("client_email", "private_key"):
            if not isinstance(info.get(name), str):
                raise ConfigError(f"{self.place}: the service account's key file has no {name}")
        address = info.get("token_uri") or TOKEN_URI
        grant = await self._exchange.post(address, await self._assertion(info, address), self.place)
        if grant.refused == "invalid_grant" and grant.server_skew_s is not None:
            skew = grant.server_skew_s
            if abs(skew - self._skew_s) > _SKEW_S:
                self._skew_s = skew
                grant = await self._exchange.post(address, await self._assertion(info, address), self.place)
        return grant.granted(self.place)

    async def _assertion(self, info: Mapping[str, Any], address: str) -> bytes:
        now = int(self._wall().timestamp() + self._skew_s)
        claims = {"iss": info["client_email"], "scope": SCOPE, "aud": address, "iat": now, "exp": now + _LIFE_S}
        # Reading an RSA key and signing with it takes milliseconds, which the loop does not have.
        signed = await asyncio.to_thread(_signed, info, claims, self.place)
        return urlencode({"grant_type": _JWT_GRANT, "assertion": signed}).encode()

    async def _of_user(self, info: Mapping[str, Any]) -> Grant:
        form = {"grant_type": "refresh_token"}
        for name in ("client_id", "client_secret", "refresh_token"):
            if not isinstance(info.get(name), str):
                raise ConfigError(f"{self.place}: the user's credential has no {name}")
            form[name] = info[name]
        grant = await self._exchange.post(info.get("token_uri") or TOKEN_URI, urlencode(form).encode(), self.place)
        return grant.granted(self.place)

    def __repr__(self) -> str:
        return f"<GoogleCredential {self.place}>"


class ApplicationDefault:
    """Application default credentials, looked up in Google's order: the variable, gcloud's file, the metadata server.

    Args:
        environ: `GOOGLE_APPLICATION_CREDENTIALS`, `CLOUDSDK_CONFIG`, `HOME`, `GCE_METADATA_HOST`,
            `GOOGLE_CLOUD_QUOTA_PROJECT`.
        exchange: what tokens are fetched with.
        near: what the metadata server is asked with, which no proxy leads to.
    """

    __slots__ = ("_environ", "_exchange", "_near")

    place = "the application default credentials"

    def __init__(self, environ: Mapping[str, str], exchange: TokenExchange, near: TokenExchange) -> None:
        self._environ = environ
        self._exchange = exchange
        self._near = near

    def over(self, exchange: TokenExchange) -> ApplicationDefault:
        """Return the same with another way to the token endpoints."""
        return ApplicationDefault(self._environ, exchange, self._near)

    async def token(self) -> GoogleToken:
        """Return a new access token.

        Raises:
            ConfigError: there is no such credential, or it is not taken.
        """
        path = await self._file()
        if path is not None:
            token = await GoogleCredential(FileCredential(path), self._exchange).token()
        else:
            token = await self._of_machine()
        token.quota_project = self._environ.get("GOOGLE_CLOUD_QUOTA_PROJECT") or token.quota_project
        return token

    async def _file(self) -> str | None:
        named = self._environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if named:
            return named
        path = well_known_file(self._environ)
        return str(path) if path is not None and await asyncio.to_thread(path.is_file) else None

    async def _of_machine(self) -> GoogleToken:
        host = self._environ.get("GCE_METADATA_HOST") or METADATA_HOST
        address = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token?scopes={quote(SCOPE)}"
        try:
            grant = await self._near.get(address, {"metadata-flavor": "Google"}, self.place)
        except ConfigError as error:
            raise ConfigError(
                f"{self.place}: none found: set GOOGLE_APPLICATION_CREDENTIALS to a key file, or run `gcloud auth "
                f"application-default login`, or run it on Google Cloud ({error})"
            ) from None
        granted = grant.granted(self.place)
        return GoogleToken(granted.token, expires_at=granted.expires_at)

    def __repr__(self) -> str:
        return "<ApplicationDefault>"


def well_known_file(environ: Mapping[str, str]) -> Path | None:
    """Return where gcloud leaves a user's credential, None when no home is known."""
    name = "application_default_credentials.json"
    if environ.get("CLOUDSDK_CONFIG"):
        return Path(environ["CLOUDSDK_CONFIG"]) / name
    if environ.get("APPDATA"):
        return Path(environ["APPDATA"]) / "gcloud" / name
    return Path(environ["HOME"]) / ".config" / "gcloud" / name if environ.get("HOME") else None


def check_extra(place: str) -> None:
    """Say in one line what is missing when service accounts can't be signed for.

    Raises:
        ConfigError: google-auth is not installed.
    """
    try:
        import google.auth.crypt  # noqa: F401, PLC0415 # the extra
    except ImportError:
        raise ConfigError(
            f"{place}: a service account needs the extra vertex: pip install 'spillway[vertex]'"
        ) from None


def _signed(info: Mapping[str, Any], claims: Mapping[str, Any], place: str) -> Masked:
    check_extra(place)
    import google.auth.crypt  # noqa: PLC0415 # the extra
    import google.auth.jwt  # noqa: PLC0415 # the extra

    try:
        signer = google.auth.crypt.RSASigner.from_service_account_info(info)  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - what the library raises for a bad key may quote it
        raise ConfigError(f"{place}: private_key is no RSA key in PEM") from None
    return Masked(google.auth.jwt.encode(signer, claims).decode())  # type: ignore[no-untyped-call]


def _key_file(text: str, place: str) -> dict[str, Any]:
    try:
        info = msgspec.json.decode(text)
    except msgspec.DecodeError:
        info = None
    if not isinstance(info, dict) or not isinstance(info.get("type"), str):
        raise ConfigError(f"{place} holds no Google credential: it must be JSON with a type, such as service_account")
    return {name: Masked(value) if isinstance(value, str) else value for name, value in info.items()}
