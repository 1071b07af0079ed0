"""The `HttpClient` that rests on aiohttp."""

from __future__ import annotations

import math
import ssl
from base64 import b64encode
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from multidict import istr
from yarl import URL

from spillway.core.errors import BadRequest, ConfigError, NetworkError
from spillway.core.masked import Masked
from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http.errors import harmless_cause, translate
from spillway.remote.http.port import HttpRequest
from spillway.remote.http.response import AiohttpResponse, about
from spillway.remote.http.wire import Body, Connector

KEEPALIVE_S = 30.0
_TARGETS = 256
_PLAIN = HttpConfig()


class _Target(NamedTuple):
    """A URL, parsed once."""

    url: URL
    host: str
    tls: ssl.SSLContext | bool


class AiohttpClient:
    """An `HttpClient` on aiohttp, HTTP/1.1.

    Args:
        timeouts: of which `connect_timeout_s` is used.
        user_agent: sent with each request that has none.
        http: proxy and certificate authorities.
        limit: connections at most, 0 for any number.
        resolver: how names become addresses; by default the system's resolver in a thread.

    Raises:
        ConfigError: an option of `http` can't be met.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        user_agent: str,
        *,
        http: HttpConfig = _PLAIN,
        limit: int = 0,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._connect_s = timeouts.connect_timeout_s
        self._ca_file = http.ca_file
        self._context = None if http.ca_file is None else _tls_context(http.ca_file)
        proxy: URL | None = None
        self._proxy_headers: Mapping[str, str] | None = None
        if http.proxy is not None:
            proxy, self._proxy_headers = _proxy(http.proxy)
        self._proxy_name = None if proxy is None else f"{proxy.host}:{proxy.port}"
        self._targets: dict[str, _Target] = {}
        self._user_agent = user_agent
        self._proxy = proxy
        self._limit = limit
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def send(self, request: HttpRequest) -> AiohttpResponse:
        """Return once the head of the answer is in; see `HttpClient.send`."""
        target = self._targets.get(request.url) or self._target(request.url)
        session = self._session or self._open()
        body = Body(request.body, request.on_sent)
        headers = request.headers
        if self._proxy_headers is not None and target.url.scheme == "http":
            headers = {**headers, **self._proxy_headers}
        while True:
            try:
                response = await session.request(
                    request.method,
                    target.url,
                    data=body,
                    headers=headers,
                    proxy_headers=self._proxy_headers,
                    allow_redirects=False,
                    ssl=target.tls,
                )
                break
            except Exception as exc:  # noqa: BLE001 # translated below, where no context that holds headers is attached
                failure = exc
            except BaseException:
                if body.transport is not None:
                    body.transport.abort()
                raise
            if body.transport is not None:
                body.transport.abort()
            if not self._died_idle(failure, body):
                self._fail(failure, target, body)
        error: NetworkError | None = None
        status = response.status
        if not 200 <= status < 600:
            error = NetworkError(f"{target.host} answered with status {status}", reason="protocol")
        elif status == 407 and self._proxy_name is not None:
            error = NetworkError(f"the proxy {self._proxy_name} answered 407", reason="proxy", retryable=False)
        if error is None:
            return AiohttpResponse(response, body, target.host)
        if body.transport is not None:
            body.transport.abort()
        response.close()
        raise about(body, error)

    async def aclose(self) -> None:
        """Close all connections."""
        await (self._session or self._open()).close()

    def __repr__(self) -> str:
        return f"<AiohttpClient {'closed' if self._session is not None and self._session.closed else 'open'}>"

    def _open(self) -> aiohttp.ClientSession:
        """Make the session where it is first used: it belongs to the loop that runs then."""
        session = self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=self._limit,
                keepalive_timeout=KEEPALIVE_S,
                resolver=self._resolver or ThreadedResolver(),
            ),
            headers={istr("user-agent"): self._user_agent, istr("accept"): "*/*", istr("accept-encoding"): "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_s, ceil_threshold=math.inf),
            auto_decompress=False,
            trust_env=False,
            proxy=self._proxy,
        )
        session._retry_connection = False  # noqa: SLF001 # no public switch; what is tried again is ours to say
        return session

    @staticmethod
    def _died_idle(failure: Exception, body: Body) -> bool:
        """Whether the connection was a used one that ended before any byte of an answer, for the first time."""
        wire = body.wire
        return (
            wire is not None
            and wire.exchanges > 1
            and not wire.heard
            and isinstance(failure, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError)
            and not isinstance(failure, aiohttp.ClientConnectorError)
        )

    def _fail(self, failure: Exception, target: _Target, body: Body) -> NoReturn:
        error = translate(
            failure,
            host=target.host,
            tls=target.url.scheme == "https",
            proxy=self._proxy_name,
            connect_s=self._connect_s,
        )
        if error is None:
            raise failure
        raise about(body, error) from harmless_cause(failure)

    def _target(self, url: str) -> _Target:
        parsed = _parsed(url, encoded=True)
        if parsed is None or parsed.user is not None or parsed.password is not None:
            raise BadRequest("the endpoint is not an http or https URL without credentials", reason="unsendable")
        context: ssl.SSLContext | bool = True
        if parsed.scheme == "https":
            self._context = self._context or _tls_context(self._ca_file)
            context = self._context
        if len(self._targets) >= _TARGETS:
            self._targets.clear()
        target = self._targets[url] = _Target(parsed, parsed.host or "", context)
        return target


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"http.ca_file: {ca_file} can't be read as certificates: {exc.strerror or exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(address: str) -> tuple[URL, Mapping[str, str] | None]:
    """Return the proxy's URL without credentials, and the header that carries them (RFC 7617)."""
    url = _parsed(address)
    if url is None:
        raise ConfigError("http.proxy: not an http or https URL, such as http://proxy.example:3128")
    if url.user is None and url.password is None:
        return url, None
    word = b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode()
    return url.with_user(None), {"Proxy-Authorization": Masked(f"Basic {word}")}


def _parsed(address: str, *, encoded: bool = False) -> URL | None:
    try:
        url = URL(address, encoded=encoded)
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} and url.host else None
