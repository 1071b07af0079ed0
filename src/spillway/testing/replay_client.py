"""Replaying: an HTTP client without a network, which says what was said when it was recorded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec
from multidict import CIMultiDict

from spillway.core.clock import sleep
from spillway.core.errors import BadRequest, NetworkError, ServerError
from spillway.remote.http import BODY_LIMIT, HttpClient, HttpRequest
from spillway.testing.record_scrub import Scrubber
from spillway.testing.replay_file import Exchange, RecordedResponse
from spillway.testing.replay_match import Match, asked, nearest


class Replay:
    """The exchanges of a file, each of which answers one request.

    Args:
        path: of the file, for error messages.
        exchanges: each with its line, in the order of the file.
        match: which of them answers which request.
        ignore: what of a body `match` leaves out, for error messages.
        times: whether to keep the pace of the recording.

    Attributes:
        unused: those that no request has used yet.
        misses: a line for each request that none answered.
        closed: whether it is over.
    """

    offline = True

    def __init__(
        self,
        path: Path,
        exchanges: Sequence[tuple[int, Exchange]],
        scrubber: Scrubber,
        *,
        match: Match,
        ignore: Collection[str],
        times: bool,
    ) -> None:
        self.times = times
        self.unused = list(exchanges)
        self.misses: list[str] = []
        self.closed = False
        self._path = path
        self._everything = tuple(exchanges)
        self._scrubber = scrubber
        self._match = match
        self._ignore = ignore
        self._lock = threading.Lock()

    def client(self, build: Callable[[], HttpClient]) -> HttpClient:
        """Return a client that sends nothing."""
        del build
        return _ReplayClient(self)

    def take(self, request: HttpRequest) -> RecordedResponse:
        """Return what answers a request, and use it up.

        Raises:
            BadRequest: there is nothing (`unrecorded`), or the replay is over (`cassette_closed`).
        """
        if self.closed:
            raise closed(self._path)
        wanted = asked(msgspec.structs.replace(request, body=self._scrubber.scrub(request.body)))
        with self._lock:
            for at, (_, exchange) in enumerate(self.unused):
                if self._match(exchange.request, wanted):
                    del self.unused[at]
                    return exchange.response
            entries = [(line, exchange.request) for line, exchange in self._everything]
            used = [entry for entry in entries if self._match(entry[1], wanted)]
            unused = [(line, exchange.request) for line, exchange in self.unused]
            hint = nearest(used or unused or entries, wanted, self._ignore) or "nothing is recorded"
            miss = f"no exchange is left for {wanted.method} {self._scrubber.path(wanted.path)}: {hint}"
            self.misses.append(miss)
        raise BadRequest(f"{self._path}: {miss}", reason="unrecorded")

    def __repr__(self) -> str:
        return f"<Replay {self._path.name} {len(self._everything) - len(self.unused)} of {len(self._everything)}>"


class _ReplayClient:
    """An `HttpClient` without a network."""

    def __init__(self, replay: Replay) -> None:
        self._replay = replay

    async def send(self, request: HttpRequest) -> _ReplayedResponse:
        recorded = self._replay.take(request)
        began = asyncio.get_running_loop().time()
        due = [began + at for at in recorded.at] if self._replay.times else []
        broken = recorded.error if recorded.status == 0 else None
        if (broken is None or broken.sent) and request.on_sent is not None:
            request.on_sent()
        await _until(due[:1])
        if broken is not None:
            raise broken.again()
        if recorded.status == 0:
            raise NetworkError("the recording ends here: the request was given up", reason="disconnect")
        return _ReplayedResponse(recorded, due[1:])

    async def aclose(self) -> None:
        """There is nothing to close."""


class _ReplayedResponse:
    """An `HttpResponse` that says what was said, in the same pieces."""

    def __init__(self, recorded: RecordedResponse, due: Sequence[float]) -> None:
        self.status = recorded.status
        self.headers: Mapping[str, str] = CIMultiDict(recorded.headers)
        self._recorded = recorded
        self._pieces = recorded.pieces()
        self._due = list(due)
        self._closed = False

    async def read(self, limit: int = BODY_LIMIT) -> bytes:
        pieces: list[bytes] = []
        while piece := await self.read_some():
            pieces.append(piece)
        body = b"".join(pieces)
        if len(body) > limit:
            raise ServerError(f"the answer is longer than {limit} bytes", reason="too_large", retryable=False)
        return body

    async def read_some(self) -> bytes:
        due, self._due = self._due[:1], self._due[1:]
        await _until(due)
        if self._closed:
            raise NetworkError("the answer was closed before its end", reason="incomplete")
        if self._pieces:
            return self._pieces.pop(0)
        if self._recorded.error is not None:
            raise self._recorded.error.again()
        if self._recorded.left:
            raise NetworkError("the recording ends here: its reader had left", reason="incomplete")
        return b""

    def abort(self) -> None:
        self._closed = True

    async def aclose(self) -> None:
        self._closed = True


def closed(path: Path) -> BadRequest:
    """Return what a request is refused with after the end."""
    return BadRequest(f"{path}: the cassette was closed; make a Cluster inside its block", reason="cassette_closed")


async def _until(due: Sequence[float]) -> None:
    """Wait for an instant of the loop's, if there is one; else give the others a turn."""
    now = asyncio.get_running_loop().time()
    await sleep(max(0.0, due[0] - now) if due else 0.0)
