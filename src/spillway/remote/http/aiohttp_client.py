"""The `HttpClient` that rests on aiohttp."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from multidict import istr
from yarl import URL

from spillway.core.errors import BadRequest, ConfigError, InferenceError, NetworkError, ServerError
from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http.decoding import Inflate, decoder_for
from spillway.remote.http.errors import broken, harmless_cause, translate
from spillway.remote.http.port import BODY_LIMIT, HttpRequest
from spillway.remote.http.wire import Body, Connector, Wire

KEEPALIVE_S = 30.0
_TARGETS = 256
_PLAIN = HttpConfig()
_CODING = istr("content-encoding")


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
        proxy = None if http.proxy is None else _proxy(http.proxy)
        self._proxy_name = None if proxy is None else f"{proxy.host}:{proxy.port}"
        self._targets: dict[str, _Target] = {}
        self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=limit,
                keepalive_timeout=KEEPALIVE_S,
                resolver=resolver or ThreadedResolver(),
            ),
            headers={istr("user-agent"): user_agent, istr("accept"): "*/*", istr("accept-encoding"): "identity"},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_s, ceil_threshold=math.inf),
            auto_decompress=False,
            trust_env=False,
            proxy=proxy,
        )
        self._session._retry_connection = False  # noqa: SLF001 # no public switch; what is tried again is ours to say

    async def send(self, request: HttpRequest) -> AiohttpResponse:
        """Return once the head of the answer is in; see `HttpClient.send`."""
        target = self._targets.get(request.url) or self._target(request.url)
        body = Body(request.body, request.on_sent)
        while True:
            try:
                response = await self._session.request(
                    request.method,
                    target.url,
                    data=body,
                    headers=request.headers,
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
        status = response.status
        wire = body.wire
        if wire is None:
            raise AssertionError("an answer without a connection")
        answer = AiohttpResponse(response, wire, body, target.host)
        if not 200 <= status < 600:
            answer.abort()
            raise _about(body, NetworkError(f"{target.host} answered with status {status}", reason="protocol"))
        if status == 407 and self._proxy_name is not None:
            answer.abort()
            error = NetworkError(f"the proxy {self._proxy_name} answered 407", reason="proxy", retryable=False)
            raise _about(body, error)
        return answer

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    def __repr__(self) -> str:
        return f"<AiohttpClient {'closed' if self._session.closed else 'open'}>"

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
        raise _about(body, error) from harmless_cause(failure)

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


class AiohttpResponse:
    """An answer whose head is in; see `HttpResponse`."""

    __slots__ = ("_body", "_content", "_decoder", "_host", "_response", "_wire", "headers", "status")

    status: int
    headers: Mapping[str, str]

    def __init__(self, response: aiohttp.ClientResponse, wire: Wire, body: Body, host: str) -> None:
        self._response = response
        self._content = response.content
        self._wire = wire
        self._body = body
        self._host = host
        self.status = response.status
        self.headers = headers = response.headers
        self._decoder: Inflate | None = None
        if _CODING in headers:
            try:
                self._decoder = decoder_for(headers[_CODING])
            except ServerError as error:
                self.abort()
                raise _about(body, error) from None

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        """Return the whole body."""
        piece = await self.read_some()
        if self._decoder is None and self._content.at_eof() and len(piece) <= limit:
            return piece
        pieces = []
        size = 0
        while piece:
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                self.abort()
                error = ServerError(f"the answer is longer than {limit} bytes", reason="too_large", retryable=False)
                raise _about(self._body, error)
            piece = await self.read_some()
        return b"".join(pieces)

    async def read_some(self) -> bytes:
        """Return the next piece, `b""` at the clean end."""
        decoder = self._decoder
        if decoder is not None:
            return await self._read_decoded(decoder)
        try:
            return await self._content.readany()
        except Exception as exc:  # noqa: BLE001 # translated below, where no context that holds headers is attached
            failure = exc
        except BaseException:
            self.abort()
            raise
        return self._rest_or_fail(failure)

    def abort(self) -> None:
        """Close the socket now, unless the body is at its end."""
        transport = self._body.transport
        if transport is not None and not self._response.closed:
            transport.abort()
        self._response.close()

    async def aclose(self) -> None:
        """Return the connection if the body is at its end, else close the socket."""
        if not self._response.closed:
            self.abort()

    async def _read_decoded(self, decoder: Inflate) -> bytes:
        try:
            while True:
                data = b""
                if not decoder.pending:
                    data = await self._content.readany()
                    if not data:
                        decoder.finish()
                        return b""
                decoded = decoder.step(data)
                if decoded:
                    return decoded
        except ServerError as error:
            self.abort()
            raise _about(self._body, error)  # noqa: B904 # it is the same error
        except Exception as exc:  # noqa: BLE001 # translated below, where no context that holds headers is attached
            failure = exc
        except BaseException:
            self.abort()
            raise
        return self._rest_or_fail(failure)

    def _rest_or_fail(self, failure: Exception) -> bytes:
        """Hand over what came before the break, then raise what broke it."""
        content = self._content
        rest = b"".join(content._buffer)  # noqa: SLF001 # it came; aiohttp's own readers drop it once a break follows
        if rest:
            content._buffer.clear()  # noqa: SLF001 # see above
            return rest
        wire = self._wire
        error: InferenceError
        if wire.broken:
            error = NetworkError(f"{self._host} broke HTTP/1.1 inside the answer", reason="protocol")
        elif isinstance(wire.lost, OSError):
            error = broken(wire.lost, self._host)
        elif isinstance(failure, aiohttp.ClientPayloadError):
            error = NetworkError(f"{self._host} ended the connection inside the answer", reason="incomplete")
        else:
            error = NetworkError("the answer was closed before its end", reason="incomplete")
        self.abort()
        raise _about(self._body, error) from harmless_cause(failure)

    def __repr__(self) -> str:
        return f"<AiohttpResponse {self.status} {'closed' if self._response.closed else 'open'}>"


def _about(body: Body, error: InferenceError) -> InferenceError:
    error.sent = body.sent
    return error


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"http.ca_file: {ca_file} can't be read as certificates: {exc.strerror or exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _proxy(address: str) -> URL:
    url = _parsed(address)
    if url is None:
        raise ConfigError("http.proxy: not an http or https URL, such as http://proxy.example:3128")
    return url


def _parsed(address: str, *, encoded: bool = False) -> URL | None:
    try:
        url = URL(address, encoded=encoded)
    except ValueError:
        return None
    return url if url.scheme in {"http", "https"} and url.host else None
