"""Recording: an HTTP client that takes down what it sends and what is answered, on its way through."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from spillway.core.errors import InferenceError
from spillway.remote.http import BODY_LIMIT, HttpClient, HttpRequest, HttpResponse
from spillway.testing.record_scrub import Scrubber
from spillway.testing.replay_client import closed
from spillway.testing.replay_file import (
    Exchange,
    RecordedError,
    RecordedRequest,
    RecordedResponse,
    as_json,
    as_piece,
    on_one_line,
)
from spillway.testing.replay_match import asked, shortened

_KEPT = re.compile(
    r"content-type|retry-after(?:-ms)?|x-should-retry|.*request-id|.*call-id|.*ratelimit.*|.*response-cost.*"
    r"|.*-tier|openai-(?:model|version|processing-ms)",
    re.IGNORECASE,
)


class Take:
    """One exchange as it is taken down; what it holds is scrubbed when it is written, by all that is known then."""

    def __init__(self, request: HttpRequest, *, times: bool) -> None:
        self._asked = asked(msgspec.structs.replace(request, body=b""))
        self._body = request.body
        self._pieces: list[bytes] = []
        self._times = times
        self._began = asyncio.get_running_loop().time()
        self._at: list[float] = []
        self._status = 0
        self._headers: dict[str, str] = {}
        self._error: InferenceError | None = None
        self._over = False

    def head(self, response: HttpResponse, keep: Collection[str]) -> None:
        """Take down status and headers."""
        self._status = response.status
        for name, value in response.headers.items():
            lowered = name.lower()
            if _KEPT.fullmatch(lowered) or lowered in keep:
                self._headers.setdefault(lowered, value)
        self._mark()

    def piece(self, data: bytes) -> None:
        """Take down what was read; `b""` is the clean end."""
        if self._over:
            return
        if data:
            self._pieces.append(data)
            self._mark()
        else:
            self._over = True

    def end(self) -> None:
        """Note that all has been read."""
        self._over = True

    def fail(self, error: InferenceError) -> None:
        """Take down what broke it."""
        if not self._over:
            self._over = True
            self._error = error

    def written(self, scrubber: Scrubber) -> Exchange:
        """Return the exchange as the file holds it: without the secrets that `scrubber` knows."""
        body = shortened(as_json(scrubber.scrub(self._body)))
        request = RecordedRequest(method=self._asked.method, path=scrubber.path(self._asked.path), body=body)
        response = RecordedResponse(
            status=self._status,
            headers={name: _text(scrubber, value) for name, value in sorted(self._headers.items())},
            at=self._at,
            left=not self._over,
        )
        if self._error is not None:
            response.error = RecordedError.of(self._error, _text(scrubber, self._error.message))
        pieces = scrubber.scrub_pieces(self._pieces)
        streamed = "text/event-stream" in self._headers.get("content-type", "")
        if not streamed and self._over and self._error is None:
            response.json = on_one_line(b"".join(pieces))
        if not bytes(response.json):
            kept = [number for number, piece in enumerate(pieces) if piece]  # one may lie within a secret wholly
            response.chunks = [as_piece(pieces[number]) for number in kept]
            response.at = [*self._at[:1], *(self._at[number + 1] for number in kept)] if self._times else []
        return Exchange(request=request, response=response)

    def _mark(self) -> None:
        if self._times:
            self._at.append(round(asyncio.get_running_loop().time() - self._began, 3))


class Recorder:
    """The exchanges of one recording, in the order in which they began.

    Args:
        path: of the file, for error messages.
        scrubber: learns the credentials of every request.
        keep: further response headers to take down, in lower case.
        times: whether to take down when each piece came.

    Attributes:
        closed: whether it is over.
    """

    offline = False

    def __init__(self, path: Path, scrubber: Scrubber, keep: Collection[str], *, times: bool) -> None:
        self.keep = frozenset(keep)
        self.closed = False
        self._path = path
        self._scrubber = scrubber
        self._times = times
        self._takes: list[Take] = []

    def client(self, build: Callable[[], HttpClient]) -> HttpClient:
        """Return a client that sends, and takes down what it sends."""
        return RecordingClient(self, build())

    def begin(self, request: HttpRequest) -> Take:
        """Take down a request.

        Raises:
            BadRequest: the recording is over (`cassette_closed`).
        """
        if self.closed:
            raise closed(self._path)
        self._scrubber.learn_headers(request.headers)
        take = Take(request, times=self._times)
        self._takes.append(take)
        return take

    def written(self) -> list[Exchange]:
        """Return all exchanges, each without any secret that was learned until now."""
        return [take.written(self._scrubber) for take in self._takes]

    def __repr__(self) -> str:
        return f"<Recorder {self._path.name} {len(self._takes)}>"


class RecordingClient:
    """An `HttpClient` around another one."""

    def __init__(self, recorder: Recorder, inner: HttpClient) -> None:
        self._recorder = recorder
        self._inner = inner

    async def send(self, request: HttpRequest) -> RecordingResponse:
        """Send it, and take down what comes."""
        take = self._recorder.begin(request)
        try:
            response = await self._inner.send(request)
        except InferenceError as error:
            take.fail(error)
            raise
        take.head(response, self._recorder.keep)
        return RecordingResponse(take, response)

    async def aclose(self) -> None:
        """Close the inner client."""
        await self._inner.aclose()


class RecordingResponse:
    """An `HttpResponse` around another one."""

    def __init__(self, take: Take, inner: HttpResponse) -> None:
        self._take = take
        self._inner = inner

    @property
    def status(self) -> int:
        """The inner one's."""
        return self._inner.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The inner one's."""
        return self._inner.headers

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        """Return the whole body."""
        try:
            data = await self._inner.read(limit)
        except InferenceError as error:
            self._take.fail(error)
            raise
        self._take.piece(data)
        self._take.end()
        return data

    async def read_some(self) -> bytes:
        """Return the next piece."""
        try:
            data = await self._inner.read_some()
        except InferenceError as error:
            self._take.fail(error)
            raise
        self._take.piece(data)
        return data

    def abort(self) -> None:
        """Close the socket now."""
        self._inner.abort()

    async def aclose(self) -> None:
        """Close the inner one."""
        await self._inner.aclose()


def _text(scrubber: Scrubber, text: str) -> str:
    return scrubber.scrub(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
