"""The `HttpClient` that rests on aiohttp."""

from __future__ import annotations

import math
import ssl
from base64 import b64encode
from collections.abc import Mapping
from typing import NoReturn

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from spillway.core.errors import BadRequest, ConfigError, NetworkError
from spillway.core.masked import Masked
from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http.errors import harmless_cause, translate
from spillway.remote.http.exchange import Exchange
from spillway.remote.http.head import Head, lines_of
from spillway.remote.http.port import HttpRequest
from spillway.remote.http.response import AiohttpResponse, WholeResponse, about
from spillway.remote.http.wire import Connector

KEEPALIVE_S = 30.0
_TARGETS = 256
_PLAIN = HttpConfig()


class _Target:
    """A URL, parsed once, and the head that the newest request to it had."""

    __slots__ = ("head", "host", "tls", "url")

    def __init__(self, url: URL, tls: ssl.SSLContext | bool) -> None:  # noqa: FBT001 # as aiohttp takes it
        self.url = url
        self.host = url.host or ""
        self.tls = tls
        self.head: Head | None = None


class AiohttpClient:
    """An `HttpClient` on aiohttp's connections, HTTP/1.1.

    Headers that frame the body are its own to set; a request that has one of them is a BadRequest.

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
        self._timeout = aiohttp.ClientTimeout(total=None, connect=self._connect_s, ceil_threshold=math.inf)
        self._ca_file = http.ca_file
        self._context = None if http.ca_file is None else _tls_context(http.ca_file)
        proxy: URL | None = None
        self._proxy_headers: Mapping[str, str] | None = None
        if http.proxy is not None:
            proxy, self._proxy_headers = _proxy(http.proxy)
        self._proxy_name = None if proxy is None else f"{proxy.host}:{proxy.port}"
        self._targets: dict[str, _Target] = {}
        self._defaults = {
            "user-agent": user_agent,
            "accept": "*/*",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        self._proxy = proxy
        self._limit = limit
        self._resolver = resolver
        self._connector: Connector | None = None

    async def send(self, request: HttpRequest) -> AiohttpResponse | WholeResponse:
        """Return once the head of the answer is in; see `HttpClient.send`."""
        target = self._targets.get(request.url) or self._target(request.url)
        try:
            exchange = Exchange(request.body, request.on_sent, lines_of(request.own))
        except ValueError:
            raise BadRequest("a request has a header that can't be sent", reason="unsendable") from None
        again = False
        while True:
            try:
                head = target.head
                if head is None or not head.fits(request.method, request.headers):
                    head = target.head = self._head(request, target)
                connector = self._connector or self._open()
                if connector.closed:
                    raise RuntimeError("the client is closed")  # translated like aiohttp's
                connection = None if again else connector.take_idle(head)
                if connection is None:
                    connection = await connector.take(head, self._timeout, unused=again)
                await exchange.run(connection, head, connector)
                break
            except Exception as exc:  # noqa: BLE001 # translated below, where no context that holds headers is attached
                failure = exc
            except BaseException:
                exchange.abort()
                raise
            exchange.abort()
            if again or not self._died_idle(failure, exchange):
                self._fail(failure, target, exchange)
            again = True
        if exchange.whole is not None:
            return WholeResponse(exchange, exchange.whole)
        error: NetworkError | None = None
        status = exchange.status
        if not 200 <= status < 600:
            error = NetworkError(f"{target.host} answered with status {status}", reason="protocol")
        elif status == 407 and self._proxy_name is not None:
            error = NetworkError(f"the proxy {self._proxy_name} answered 407", reason="proxy", retryable=False)
        if error is None:
            return AiohttpResponse(exchange, target.host)
        exchange.abort()
        raise about(exchange, error)

    async def reach(self, url: str) -> None:
        """Connect to where `url` leads, over the proxy and with TLS where there are, and hang up: nothing is asked.

        Raises:
            NetworkError, Timeout, BadRequest: as in `send`.
        """
        target = self._target(url)
        exchange = Exchange(b"", None, b"")
        try:
            head = self._head(HttpRequest("GET", url, {}), target)
            connector = self._connector or self._open()
            connection = await connector.take(head, self._timeout, unused=True)
        except Exception as exc:  # noqa: BLE001 # translated below
            failure = exc
        else:
            connection.close()
            return
        self._fail(failure, target, exchange)

    async def aclose(self) -> None:
        """Close all connections."""
        await (self._connector or self._open()).close()

    def __repr__(self) -> str:
        return f"<AiohttpClient {'closed' if self._connector is not None and self._connector.closed else 'open'}>"

    def _open(self) -> Connector:
        """Make the pool where it is first used: it belongs to the loop that runs then."""
        connector = self._connector = Connector(
            limit=self._limit,
            keepalive_s=KEEPALIVE_S,
            resolver=self._resolver or ThreadedResolver(),
        )
        return connector

    def _head(self, request: HttpRequest, target: _Target) -> Head:
        return Head(
            request.method,
            target.url,
            request.headers,
            defaults=self._defaults,
            tls=target.tls,
            proxy=self._proxy,
            proxy_headers=self._proxy_headers,
        )

    @staticmethod
    def _died_idle(failure: Exception, exchange: Exchange) -> bool:
        """Whether the connection was a used one that ended before any byte of an answer."""
        wire = exchange.wire
        return (
            wire is not None
            and wire.exchanges > 1
            and not wire.heard
            and isinstance(failure, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | ConnectionError)
            and not isinstance(failure, aiohttp.ClientConnectorError)
        )

    def _fail(self, failure: Exception, target: _Target, exchange: Exchange) -> NoReturn:
        error = translate(
            failure,
            host=target.host,
            tls=target.url.scheme == "https",
            proxy=self._proxy_name,
            connect_s=self._connect_s,
        )
        if error is None:
            raise failure
        raise about(exchange, error) from harmless_cause(failure)

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
        target = self._targets[url] = _Target(parsed, context)
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
