"""The `HttpResponse` that rests on aiohttp."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from multidict import istr

from spillway.core.clock import sleep
from spillway.core.errors import InferenceError, NetworkError, ServerError
from spillway.remote.http.decoding import Inflate, decoder_for
from spillway.remote.http.errors import broken, harmless_cause
from spillway.remote.http.exchange import Exchange
from spillway.remote.http.port import BODY_LIMIT

_CODING = istr("content-encoding")


class AiohttpResponse:
    """An answer whose head is in; see `HttpResponse`."""

    __slots__ = ("_content", "_decoder", "_exchange", "_host", "headers", "status")

    status: int
    headers: Mapping[str, str]

    def __init__(self, exchange: Exchange, host: str) -> None:
        self._exchange = exchange
        self._content = exchange.content
        self._host = host
        self.status = exchange.status
        self.headers = headers = exchange.headers
        self._decoder: Inflate | None = None
        if _CODING in headers:
            try:
                self._decoder = decoder_for(headers[_CODING])
            except ServerError as error:
                self.abort()
                raise about(exchange, error) from None

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
                raise about(self._exchange, too_large(limit))
            piece = await self.read_some()
        return b"".join(pieces)

    async def read_some(self) -> bytes:
        """Return the next piece, `b""` at the clean end."""
        decoder = self._decoder
        if decoder is None:
            return await self._receive()
        try:
            while True:
                data = b""
                if decoder.pending:
                    await self._let_others_run()
                else:
                    data = await self._receive()
                    if not data:
                        decoder.finish()
                        return b""
                decoded = decoder.step(data)
                if decoded:
                    return decoded
        except ServerError as error:
            self.abort()
            about(self._exchange, error)
            raise

    def abort(self) -> None:
        """Close the socket now, unless the body is at its end."""
        self._exchange.abort()

    async def aclose(self) -> None:
        """Return the connection if the body is at its end, else close the socket."""
        if not self._exchange.over:
            self.abort()

    async def _let_others_run(self) -> None:
        """Give the loop a turn: one packet can expand to a thousand steps, and no deadline passes inside of them."""
        try:
            await sleep(0.0)
        except BaseException:
            self.abort()
            raise

    async def _receive(self) -> bytes:
        """Return the next bytes of the body as they came."""
        try:
            return await self._content.readany()
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
        wire = self._exchange.wire
        error: InferenceError
        if wire is not None and wire.broken:
            error = NetworkError(f"{self._host} broke HTTP/1.1 inside the answer", reason="protocol")
        elif wire is not None and isinstance(wire.lost, OSError):
            error = broken(wire.lost, self._host)
        elif isinstance(failure, aiohttp.ClientPayloadError):
            error = NetworkError(f"{self._host} ended the connection inside the answer", reason="incomplete")
        else:
            error = NetworkError("the answer was closed before its end", reason="incomplete")
        self.abort()
        raise about(self._exchange, error) from harmless_cause(failure)

    def __repr__(self) -> str:
        return f"<AiohttpResponse {self.status} {'closed' if self._exchange.over else 'open'}>"


class WholeResponse:
    """An answer that came in one piece; its connection is out of its hands."""

    __slots__ = ("_body", "_exchange", "headers", "status")

    status: int
    headers: Mapping[str, str]

    def __init__(self, exchange: Exchange, body: bytes) -> None:
        self._exchange = exchange
        self._body = body
        self.status = exchange.status
        self.headers = exchange.headers

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        """Return the whole body."""
        body, self._body = self._body, b""
        if len(body) > limit:
            raise about(self._exchange, too_large(limit))
        return body

    async def read_some(self) -> bytes:
        """Return the body, then `b""`."""
        body, self._body = self._body, b""
        return body

    def abort(self) -> None:
        """Drop what was not read."""
        self._body = b""

    async def aclose(self) -> None:
        """Drop what was not read."""
        self._body = b""

    def __repr__(self) -> str:
        return f"<WholeResponse {self.status}>"


def too_large(limit: int) -> ServerError:
    """Return the error for an answer of more bytes than are taken."""
    return ServerError(f"the answer is longer than {limit} bytes", reason="too_large", retryable=False)


def about(exchange: Exchange, error: InferenceError) -> InferenceError:
    """Note on `error` whether the request it is about was sent."""
    error.sent = exchange.sent
    return error
