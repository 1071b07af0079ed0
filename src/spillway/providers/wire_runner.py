"""The runner that every HTTP provider shares: lease, request, status, answer. What is particular is a `Wire`.

    lease    the session's current generation: client and headers, kept until the answer is closed
    request  `Wire.encode` -> URL and body
    status   not 2xx: `Wire.refusal` types it by status, headers and body
    answer   unary: read whole, `Wire.decode`; streamed: read by read, SSE decoder, `StreamWire.take`

It neither retries nor waits for limits nor keeps time: the deadline is its caller's.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from spillway.core.errors import BadRequest, ConfigError, InferenceError, ServerError, Unauthorized
from spillway.core.limits_seen import LimitsSeen
from spillway.core.masked import Masked
from spillway.core.options import Deployment
from spillway.core.ports import ExecuteBatch
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import ANTHROPIC, GenerateRequest, NativeBody
from spillway.core.secrets import Secret
from spillway.providers.answers import StreamedAnswer, StreamWire, Vectors, WholeAnswer
from spillway.providers.encoding import Losses, merged_headers
from spillway.providers.foreign import in_chat_words
from spillway.providers.hiding import hide
from spillway.providers.reaching import answers
from spillway.providers.takes import Takes
from spillway.remote.http import HttpClient, HttpRequest, HttpResponse, build_client
from spillway.remote.session import CredentialProvider, RemoteSessionActor, SessionConfig, SessionSnapshot

USER_AGENT = "spillway/0.1.0"
_MOST_WARNED = 256
_PLACE = re.compile(r"\[\d+\]")
_logger = logging.getLogger("spillway.providers")

ERROR_LIMIT = 256 * 1024
"""Bytes of an error's body that are read; what comes after can't change its meaning."""


MOST_INPUTS = 2_048
"""Inputs to embed that a provider takes at once unless its wire says otherwise."""


class Wire(Protocol):
    """What is particular to a provider: pure functions of its configuration.

    It may have these, all optional: `attempt_headers(batch) -> Mapping[str, str]`, headers of one attempt beside those
    of its session, names in lower case; `most_inputs` (int), inputs to embed that it takes at once; `about(headers)`,
    the `about` of a whole answer that its headers tell, or None; `alive_url` (str), which is asked for an answer,
    without a credential, before a rebuilt session takes the place of the old one; `native(request)`, the `NativeBody`
    of a request if it is in this wire's own words, so that `encode` sends that and the answer's bytes are kept, or
    None; `takes` (`Takes`), what it takes of a request in Anthropic's words that is not in its own;
    `native_headers(headers, native)`, the session's headers with those of such a body.
    """

    @property
    def kind(self) -> str:
        """The runner's `runtime_kind`, and the provider's name in errors."""
        ...

    @property
    def id_headers(self) -> tuple[str, ...]:
        """Response headers that may hold the provider's id of a request, the best first."""
        ...

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return the headers of every request of a session generation, names in lower case."""
        ...

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body; raises BadRequest for what can't be sent. What is left out goes to `losses`."""
        ...

    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole answer's chunks and its own id; raises InferenceError."""
        ...

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Return the vectors for `wanted` inputs; raises InferenceError."""
        ...

    def decode_count(self, body: bytes) -> int:
        """Return the input tokens that the provider counted; raises InferenceError."""
        ...

    def open_stream(self) -> StreamWire:
        """Return the state of a new streamed answer."""
        ...

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
        """Return the error that a status of 300 and more means."""
        ...

    def limits(self, headers: Mapping[str, str]) -> LimitsSeen | None:
        """Return what headers say of the provider's limits."""
        ...


class Headers(dict[str, str]):
    """Headers whose values show in no repr, neither theirs nor, of those they begin with, that of a copy."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name: Masked(value) for name, value in headers.items()})

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self)}>"


class WireRunner:
    """A `ModelRunner` for a provider that is spoken to in HTTP and JSON.

    Its session is made on first use, by whoever comes first, for all who come then.

    Args:
        deployment: whose HTTP options and timeouts apply.
        wire: what is particular to the provider.
        credentials: where the credential comes from.

    Attributes:
        most_inputs: inputs to embed that the provider takes at once.
    """

    transport_kind = "http"

    def __init__(self, deployment: Deployment, wire: Wire, credentials: CredentialProvider) -> None:
        self._deployment = deployment
        self._wire = wire
        self._credentials = credentials
        self._session: RemoteSessionActor | None = None
        self._opening: asyncio.Task[RemoteSessionActor] | None = None
        self._rate_limits: LimitsSeen | None = None
        self._lenient = deployment.unsupported == "warn"
        self._warned: set[str] = set()
        self._about: Callable[[Mapping[str, str]], Mapping[str, Any] | None] | None = getattr(wire, "about", None)
        self.runtime_kind = wire.kind
        self.most_inputs: int = getattr(wire, "most_inputs", MOST_INPUTS)
        self._attempt_headers: Callable[[ExecuteBatch], Mapping[str, str]] | None = getattr(
            wire, "attempt_headers", None
        )
        self._takes: Takes = getattr(wire, "takes", Takes())
        self._own_words: Callable[[GenerateRequest], NativeBody | None] = getattr(wire, "native", _never)
        self._native_headers: Callable[[Mapping[str, str], NativeBody], Mapping[str, str]] | None = getattr(
            wire, "native_headers", None
        )
        # Loaded here, because loading takes longer than an attempt may.
        importlib.import_module("spillway.remote.http.aiohttp_client")

    @property
    def rate_limits(self) -> LimitsSeen | None:
        """The limits that the newest answer's headers told of, or None."""
        return self._rate_limits

    @property
    def session(self) -> RemoteSessionActor | None:
        """The session, None before first use."""
        return self._session

    async def execute(self, batch: ExecuteBatch) -> WholeAnswer | StreamedAnswer:
        """Send one attempt; return once a unary answer is in whole, or the head of a streamed one.

        Raises:
            InferenceError: it could not be sent, was refused, or the answer can't be read.

        Cancellation: closes the socket.
        """
        request = batch.request
        wire = self._wire
        session = self._session or await self._open()
        if session.expires:
            await session.fresh()
        stream = batch.stream and request.inputs is None and not request.counts
        losses = Losses(wire.kind, lenient=self._lenient)
        lease: SessionSnapshot | None = None
        response: HttpResponse | None = None
        try:
            request, native, url, body = self._encoded(request, losses, stream=stream)
            warnings = self._told(losses) if losses.warnings else ()
            lease = session.snapshot.acquire()
            headers: Mapping[str, str] = lease.prepared
            own = None if self._attempt_headers is None else self._attempt_headers(batch)
            if native is not None and native.headers and self._native_headers is not None:
                headers = Headers(self._native_headers(headers, native))
            if request.extra_headers:
                headers = merged_headers({**headers, **(own or {})}, request.extra_headers, wire.kind, kind=Headers)
                own = None
            response = await lease.client.send(HttpRequest("POST", url, headers, body, batch.on_sent, own))
            received = response.headers
            limits = wire.limits(received)
            if limits is not None:
                self._rate_limits = limits
            status = response.status
            if status >= 300:
                raise await self._refusal(status, response, lease)
            request_id = _first_of(wire.id_headers, received)
            kind = received.get("content-type", "")
            if stream and "text/event-stream" in kind.lower():
                opened = wire.open_stream()
                answer = StreamedAnswer(
                    wire.kind,
                    response,
                    lease,
                    opened,
                    request_id,
                    limits,
                    warnings,
                    relays="" if native is None else native.wire,
                )
                response = lease = None  # they are the answer's now
                return answer
            if "text/event-stream" in kind.lower():
                raise ServerError(
                    "events came where a whole answer was asked for", reason="content_type", status=status
                )
            return await self._whole(request, response, kind, request_id, limits, warnings, native)
        except InferenceError as error:
            if error.provider is None:
                error.provider = wire.kind
            if lease is not None:
                hide(error, lease.secrets)
            if lease is not None and isinstance(error, Unauthorized):
                error.generation = lease.generation  # type: ignore[attr-defined] # the session reads it to tell stale refusals
            raise
        finally:
            if response is not None:
                response.abort()
            if lease is not None:
                lease.release()

    def _encoded(
        self, request: GenerateRequest, losses: Losses, *, stream: bool
    ) -> tuple[GenerateRequest, NativeBody | None, str, bytes]:
        """Return the request in the provider's words.

        Whatever of a request has a type that no part of the wire expects is the caller's fault: were it taken for the
        runner's, one caller's odd request would open the circuit for all.

        Raises:
            BadRequest: it can't be put so.
        """
        try:
            request, native = self._worded(request, losses)
            url, body = self._wire.encode(request, losses, stream=stream)
        except (TypeError, AttributeError, LookupError, ValueError, RecursionError) as error:
            message = f"the request has a field of a type that can't be sent: {type(error).__name__}"
            raise BadRequest(message, reason="unsendable") from error
        return request, native, url, body

    async def rebuild_session(self, cause: BaseException | None) -> None:
        """Read the credential again and build a new client; what is in flight keeps the old one.

        Raises:
            Unauthorized: the source still yields the credential that was refused.
        """
        session = self._session or await self._open()
        await session.rebuild(cause, force=cause is None)

    async def aclose(self) -> None:
        """Close the session and its connections. May be called again."""
        opening = self._opening
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                self._session = opening.result()
        if self._session is not None:
            await self._session.aclose()

    async def _open(self) -> RemoteSessionActor:
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.get_running_loop().create_task(self._bootstrap())
            opening.add_done_callback(self._opened)
        return await asyncio.shield(opening)

    def _opened(self, opening: asyncio.Task[RemoteSessionActor]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._session = opening.result()

    async def _bootstrap(self) -> RemoteSessionActor:
        deployment, wire = self._deployment, self._wire
        alive_url = getattr(wire, "alive_url", None)

        def new_client() -> HttpClient:
            return build_client(deployment.timeouts, USER_AGENT, http=deployment.http)

        config = SessionConfig(
            provider=wire.kind,
            credentials=self._credentials,
            build_client=new_client,
            prepare=lambda secret: Headers(wire.headers(secret)),
            verify=partial(answers, alive_url, timeout_s=deployment.timeouts.connect_timeout_s) if alive_url else None,
            deployment=deployment.name,
        )
        try:
            return await RemoteSessionActor.bootstrap(config)
        except ConfigError as error:
            raise Unauthorized(str(error), provider=wire.kind, reason="rebuild_failed") from error

    async def _refusal(self, status: int, response: HttpResponse, lease: SessionSnapshot) -> InferenceError:
        """Read what the error says, as far as that goes, and type it; a credential that it quotes is masked first."""
        pieces: list[bytes] = []
        size = 0
        with suppress(InferenceError):  # what came before a break is what it says
            while size < ERROR_LIMIT and (piece := await response.read_some()):
                pieces.append(piece)
                size += len(piece)
        body = b"".join(pieces)[:ERROR_LIMIT]
        for secret in lease.secrets:
            body = body.replace(secret.reveal().encode(), b"[redacted]")
        error = self._wire.refusal(status, response.headers, body)
        error.sent = True
        return error

    def _worded(self, request: GenerateRequest, losses: Losses) -> tuple[GenerateRequest, NativeBody | None]:
        """Return a request in words that this wire has, and its native body where those are the wire's own."""
        if request.native is None:
            return request, None
        native = self._own_words(request)
        if native is None and request.native.wire == ANTHROPIC:
            request = in_chat_words(request, losses, self._takes)
        return request, native

    def _told(self, losses: Losses) -> tuple[str, ...]:
        """Return what was left out of a request, and log each kind of it once."""
        for warning in losses.warnings:
            kind = _PLACE.sub("[]", warning)
            if kind not in self._warned and len(self._warned) < _MOST_WARNED:
                self._warned.add(kind)
                _logger.warning("deployment %r leaves out %s", self._deployment.name, warning)
        return tuple(losses.warnings)

    async def _whole(
        self,
        request: GenerateRequest,
        response: HttpResponse,
        kind: str,
        request_id: str,
        limits: LimitsSeen | None,
        warnings: tuple[str, ...],
        native: NativeBody | None,
    ) -> WholeAnswer:
        wire = self._wire
        words = "" if native is None else native.wire
        body = await response.read()
        about = None if self._about is None else self._about(response.headers)
        told = [] if about is None else [TokenChunk(about=about)]
        try:
            if request.inputs is not None:
                vectors, usage = wire.decode_vectors(body, len(request.inputs))
                chunks = told if usage is None else [*told, TokenChunk(usage=usage)]
                return WholeAnswer(chunks, request_id, limits, vectors, warnings=warnings)
            if request.counts:
                counted = Usage(input_tokens=wire.decode_count(body))
                return WholeAnswer(
                    [TokenChunk(usage=counted)], request_id, limits, raw=body, warnings=warnings, wire=words
                )
            chunks, answer_id = wire.decode(body)
            if told:
                chunks = [*told, *chunks]
            return WholeAnswer(chunks, request_id or answer_id, limits, raw=body, warnings=warnings, wire=words)
        except ServerError as error:
            if error.reason in {"malformed", "schema"} and kind and "json" not in kind.lower():
                error.reason = "content_type"
            if error.status is None:
                error.status = response.status
            raise

    def __repr__(self) -> str:
        return f"<WireRunner {self.runtime_kind} {self._session!r}>"


def _never(request: GenerateRequest) -> NativeBody | None:
    del request
    return None


def _first_of(names: tuple[str, ...], headers: Mapping[str, str]) -> str:
    for name in names:
        found = headers.get(name, "")
        if found:
            return found
    return ""
