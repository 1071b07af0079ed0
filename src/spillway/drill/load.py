"""Clients of gateways: each asks, waits for its answer and asks again; one whose gateway is gone asks another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from spillway.core.clock import Clock, sleep
from spillway.drill.processes import DrillError

GONE_S = 0.05
"""How long a client waits before it asks another gateway, or the same one again after a refusal."""

_PATIENCE_S = 300.0
_LOOK_S = 0.02


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client got for one request.

    Attributes:
        name: of the request.
        node: that answered; 0 where none did.
        began_s: when it was first sent, by the drill's clock.
        took_s: until the answer.
        status: of the answer; 0 where there was none within the client's patience.
        code: of a refusal.
        tries: how many gateways were asked; all but the last were gone before they answered.
    """

    name: str
    node: int
    began_s: float
    took_s: float
    status: int
    code: str = ""
    tries: int = 1


class _Error(msgspec.Struct):
    code: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


class Load:
    """Asks gateways as fast as so many clients do.

    Args:
        urls: where each node is asked, None while it does not run; the first is node 1's.
        model: what is asked for.
        clock: the drill's.

    Attributes:
        answers: of all requests that have ended.
        asked: names of all requests.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Callable[[], Sequence[str | None]],
        *,
        model: str,
        clock: Clock,
        max_tokens: int = 16,
    ) -> None:
        self._session = session
        self._urls = urls
        self._model = model
        self._clock = clock
        self._max_tokens = max_tokens
        self._clients: list[asyncio.Task[None]] = []
        self._stopping = False
        self._left: int | None = None
        self._every_s = 0.0
        self.answers: list[Answer] = []
        self.asked: list[str] = []

    def begin(self, nodes: Sequence[int], at_once: int, *, asks: int | None = None, every_s: float = 0.0) -> None:
        """Begin to ask: so many clients of each of the nodes, without end, or so many requests in all.

        Args:
            every_s: how often each client asks, as long as answers come sooner; `hurry` ends that.
        """
        self._left = asks
        self._every_s = every_s
        self._stopping = False
        homes = [node for _ in range(at_once) for node in nodes]
        self._clients = [
            asyncio.create_task(self._client(node, every_s * place / len(homes))) for place, node in enumerate(homes)
        ]

    async def answered(self, within_s: float) -> float:
        """Wait for the first answer to anything, and return when that was known.

        Raises:
            DrillError: there was none.
        """
        until = self._clock() + within_s
        while not any(answer.status == 200 for answer in self.answers):
            if self._clock() > until:
                raise DrillError(f"nobody had an answer within {within_s:g} s")
            await sleep(_LOOK_S)
        return self._clock()

    def hurry(self) -> None:
        """Have every client ask again as soon as it has its answer."""
        self._every_s = 0.0

    async def ended(self) -> None:
        """Wait until every request has its answer, when there is an end to them.

        Cancellation: ends every request that is under way.
        """
        try:
            await asyncio.gather(*self._clients)
        except BaseException:
            await self._abort()
            raise

    async def end(self) -> None:
        """Ask nothing more, and wait for what is under way."""
        self._stopping = True
        await self.ended()

    @asynccontextmanager
    async def asking(
        self, nodes: Sequence[int], at_once: int, *, asks: int | None = None, every_s: float = 0.0
    ) -> AsyncIterator[None]:
        """Ask within a block, as `begin` does, and wait for all answers at its end; an error ends every request."""
        self.begin(nodes, at_once, asks=asks, every_s=every_s)
        try:
            yield
        except BaseException:
            await self._abort()
            raise
        await (self.end() if asks is None else self.ended())

    async def _abort(self) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _client(self, home: int, after_s: float) -> None:
        await sleep(after_s)
        while not self._stopping:
            if self._left is not None:
                if not self._left:
                    return
                self._left -= 1
            name = f"request {len(self.asked) + 1}"
            self.asked.append(name)
            answer = await self.ask(name, home)
            self.answers.append(answer)
            # To the next of this client's own instants, so that clients that were kept waiting together part again.
            rest_s = (after_s - self._clock()) % self._every_s if self._every_s else 0.0
            if rest_s or answer.status != 200:
                await sleep(max(rest_s, GONE_S))

    async def ask(self, name: str, home: int) -> Answer:
        """Ask one thing, `home` first and then whoever is there, until somebody answers."""
        began = self._clock()
        node, tries = home, 0
        status, code = 0, ""
        while self._clock() - began < _PATIENCE_S:
            url = self._urls()[node - 1]
            if url is not None:
                tries += 1
                try:
                    status, code = await self._post(url, name)
                    break
                except TimeoutError:
                    break
                except (aiohttp.ClientError, OSError):
                    pass
            await sleep(GONE_S)
            node = node % len(self._urls()) + 1
        took = self._clock() - began
        return Answer(
            name=name, node=node if status else 0, began_s=began, took_s=took, status=status, code=code, tries=tries
        )

    async def _post(self, url: str, name: str) -> tuple[int, str]:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": name}],
            "max_tokens": self._max_tokens,
        }
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with self._session.post(f"{url}/v1/chat/completions", json=body, timeout=timeout) as response:
            raw = await response.read()
            if response.status == 200:
                return 200, ""
            try:
                return response.status, msgspec.json.decode(raw, type=_Refusal).error.code or ""
            except msgspec.DecodeError:
                return response.status, ""
