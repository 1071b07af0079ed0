"""The `HttpClient` that rests on pyqwest (reqwest): HTTP/2 where TLS negotiates it, else HTTP/1.1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakSet

import pyqwest

from spillway.core.errors import BadRequest, ConfigError, InferenceError, NetworkError, ServerError
from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http.decoding import Inflate, decoder_for
from spillway.remote.http.port import BODY_LIMIT, HttpRequest
from spillway.remote.http.pyqwest_errors import broken_body, not_processed, translate

KEEPALIVE_S = 30.0
_PIECE = 256 * 1024
_IDLE = 4_096
_PLAIN = HttpConfig()
_EVERYWHERE = "*,0.0.0.0/0,::/0"


class PyqwestClient:
    """An `HttpClient` on pyqwest.

    A request whose stream the peer has refused unprocessed (RFC 9113, 8.7) is sent once more; the library does not tell
    whether a connection that died was a used one, so nothing else is.

    Args:
        timeouts: of which `connect_timeout_s` is used.
        user_agent: sent with each request that has none.
        http: proxy and certificate authorities.
        limit: connections to an address at most, 0 for any number.

    Raises:
        ConfigError: an option of `http` can't be met.
    """

    def __init__(self, timeouts: Timeouts, user_agent: str, *, http: HttpConfig = _PLAIN, limit: int = 0) -> None:
        self._connect_s = timeouts.connect_timeout_s
        self._own_headers = {"user-agent": user_agent, "accept": "*/*", "accept-encoding": "identity"}
        self._proxy: str | None = None
        self._closed = False
        self._open: WeakSet[PyqwestResponse] = WeakSet()
        route = self._route(http.proxy)
        try:
            self._transport = pyqwest.HTTPTransport(
                tls_ca_cert=None if http.ca_file is None else _certificates(http.ca_file),
                tls_include_system_certs=http.ca_file is None,
                proxy=route,
                connect_timeout=timeouts.connect_timeout_s,
                pool_idle_timeout=KEEPALIVE_S,
                pool_max_idle_per_host=_IDLE,
                max_connections_per_address=limit or None,
                use_system_dns=True,
                enable_gzip=False,
                enable_brotli=False,
                enable_zstd=False,
                follow_redirects=False,
                enable_otel=False,
            )
        except ValueError:
            raise ConfigError(f"http.ca_file: {http.ca_file} can't be read as certificates") from None

    async def send(self, request: HttpRequest) -> PyqwestResponse:
        """Return once the head of the answer is in; see `HttpClient.send`."""
        if self._closed:
            raise NetworkError("the HTTP client is closed", reason="local", counts_as_circuit_failure=False)
        host, tls = _host(request.url)
        body = _Body(request)
        again = True
        while True:
            asked = self._asked(request, body)
            try:
                response = await self._transport.execute(asked)
                break
            except Exception as exc:  # noqa: BLE001 # translated below, where no context that holds headers is attached
                failure = exc
            except BaseException as exc:
                # The library panics where its threads can't be started.
                if type(exc).__name__ != "PanicException":
                    raise
                failure = RuntimeError(str(exc))
            if not (again and not_processed(failure)):
                error = translate(failure, host=host, tls=tls, proxy=self._proxy, connect_s=self._connect_s)
                error.sent = body.sent
                raise error
            again = False
        status = response.status
        refused: NetworkError | None = None
        if not 200 <= status < 600:
            refused = NetworkError(f"{host} answered with status {status}", reason="protocol")
        elif status == 407 and self._proxy is not None:
            refused = NetworkError(f"the proxy {self._proxy} answered 407", reason="proxy", retryable=False)
        if refused is not None:
            response.aclose()
            refused.sent = body.sent
            raise refused
        answer = PyqwestResponse(response, body, host)
        self._open.add(answer)
        return answer

    async def aclose(self) -> None:
        """Close all connections, those of answers under way too."""
        self._closed = True
        for answer in list(self._open):
            answer.abort()
        await self._transport.aclose()

    def __repr__(self) -> str:
        return f"<PyqwestClient {'closed' if self._closed else 'open'}>"

    def _asked(self, request: HttpRequest, body: _Body) -> pyqwest.Request:
        """Return the request as the library wants it; no frame keeps its headers, whose repr would show a key."""
        fields = {**self._own_headers, **{name.lower(): value for name, value in request.headers.items()}}
        fields.update(request.own or {})
        fields["content-length"] = str(len(request.body))
        try:
            headers = pyqwest.Headers((name, str(value)) for name, value in fields.items())
            return pyqwest.Request(request.method, request.url, headers, body.pieces())
        except ValueError:
            headers = None
            raise BadRequest("a request has a header that can't be sent", reason="unsendable") from None

    def _route(self, proxy: str | None) -> pyqwest.Proxy:
        """Return the proxy, or one that nothing goes through: without any, the environment's would be used."""
        if proxy is None:
            return pyqwest.Proxy("http://127.0.0.1:9", no_proxy=_EVERYWHERE)
        parts = urlsplit(proxy)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError("http.proxy: not an http or https URL, such as http://proxy.example:3128")
        self._proxy = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        try:
            return pyqwest.Proxy(proxy, no_proxy="")
        except ValueError:
            raise ConfigError("http.proxy: not a URL that a proxy can have") from None


class PyqwestResponse:
    """An answer whose head is in; see `HttpResponse`."""

    __slots__ = ("__weakref__", "_body", "_decoder", "_ended", "_host", "_pieces", "_response", "headers", "status")

    def __init__(self, response: pyqwest.Response, body: _Body, host: str) -> None:
        self._response = response
        self._body = body
        self._host = host
        self._pieces: AsyncIterator[bytes | memoryview | bytearray] | None = None
        self._ended = False
        self.status: int = response.status
        self.headers: Mapping[str, str] = _Fields(response.headers)
        self._decoder: Inflate | None = None
        try:
            self._decoder = decoder_for(response.headers.get("content-encoding"))
        except ServerError as error:
            self.abort()
            raise self._about(error) from None

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        """Return the whole body."""
        pieces = []
        size = 0
        while piece := await self.read_some():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                self.abort()
                error = ServerError(f"the answer is longer than {limit} bytes", reason="too_large", retryable=False)
                raise self._about(error)
        return b"".join(pieces)

    async def read_some(self) -> bytes:
        """Return the next piece, `b""` at the clean end."""
        decoder = self._decoder
        if decoder is None:
            return await self._receive()
        try:
            while True:
                data = b"" if decoder.pending else await self._receive()
                if not data and not decoder.pending:
                    decoder.finish()
                    return b""
                decoded = decoder.step(data)
                if decoded:
                    return decoded
        except ServerError as error:
            self.abort()
            raise self._about(error) from error.__cause__

    def abort(self) -> None:
        """End the stream, or close the socket, now; unless the body is at its end."""
        if not self._ended:
            self._ended = True
            self._response.aclose()

    async def aclose(self) -> None:
        """Give the connection back if the body is at its end, else end the stream or close the socket."""
        self.abort()

    async def _receive(self) -> bytes:
        if self._ended:
            return b""
        pieces = self._pieces
        if pieces is None:
            pieces = self._pieces = aiter(self._response.content)
        try:
            while True:
                piece = bytes(await anext(pieces))
                if piece:
                    return piece
        except StopAsyncIteration:
            self._ended = True
            return b""
        except Exception as exc:  # noqa: BLE001 # translated below, where no context that holds headers is attached
            failure = exc
        except BaseException:
            self.abort()
            raise
        self.abort()
        raise self._about(broken_body(failure, self._host))

    def _about(self, error: InferenceError) -> InferenceError:
        error.sent = self._body.sent
        return error

    def __repr__(self) -> str:
        return f"<PyqwestResponse {self.status} {'ended' if self._ended else 'open'}>"


class _Fields(Mapping[str, str]):
    """Headers of an answer, looked up in any case; of a name that came more than once, the first."""

    __slots__ = ("_headers",)

    def __init__(self, headers: pyqwest.Headers) -> None:
        self._headers = headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __contains__(self, name: object) -> bool:
        return name in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._headers.keys()))

    def __len__(self) -> int:
        return len(self._headers)


class _Body:
    """The body of one request, handed over in pieces so that its end is seen.

    Attributes:
        sent: whether its last byte has been taken over.
    """

    __slots__ = ("_request", "sent")

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.sent = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body; what asks for more after the last piece has taken that over."""
        value = self._request.body
        for start in range(0, len(value), _PIECE):
            yield value[start : start + _PIECE]
        if not self.sent:
            self.sent = True
            if self._request.on_sent is not None:
                self._request.on_sent()


def _host(url: str) -> tuple[str, bool]:
    """Return a URL's host and whether TLS leads there."""
    refusal = BadRequest("the endpoint is not an http or https URL without credentials", reason="unsendable")
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise refusal from None
    if parts.scheme not in {"http", "https"} or not host or parts.username is not None or parts.password is not None:
        raise refusal
    return host, parts.scheme == "https"


def _certificates(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise ConfigError(f"http.ca_file: {path} can't be read as certificates: {exc.strerror or exc}") from exc
