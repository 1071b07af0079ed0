"""The life of one request to a model route.

Order: route, key, body, limits, fault, latency, answer. So a refused key or body takes nothing of a limit, every other
request is judged at its arrival, and one that an injected fault strikes has counted.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from aiohttp import web

from spillway.sim import broken, google_tokens
from spillway.sim.answers import Answer, compose
from spillway.sim.ask import Ask, BadAsk
from spillway.sim.clock import Clock, WallClock, pause
from spillway.sim.config import SimConfig
from spillway.sim.delivery import send_stream, send_unary
from spillway.sim.faults import Fault, FaultError, parse_fault
from spillway.sim.google_tokens import TokenDesk
from spillway.sim.limits import Limits
from spillway.sim.prices import PriceList
from spillway.sim.routes import Target, family, resolve
from spillway.sim.scenario import Scenario
from spillway.sim.stats import Stats, Visit
from spillway.sim.turn import Turn, admitted, verdict_tokens
from spillway.sim.wire.dialect import JSON, Dialect, Refusal, Route, Trouble

CACHE_SIZE = 4096
CACHED_BODY_BYTES = 64 * 1024
FAULT_HEADER = "x-sim-fault"


class Prepared(msgspec.Struct):
    """A question with its answer; `unary` is filled in when it is first written."""

    ask: Ask
    answer: Answer
    unary: bytes | None = None


class Exchange:
    """Answers requests to model routes, and holds what they share.

    Args:
        config: The simulator's settings.
        clock: Monotonic seconds.
        wall: The wall clock that headers quote.
        closing: Set when the simulator closes; stalls end then.
        dialects: A third party's, by the path that each generates at; before its own.
    """

    def __init__(
        self,
        config: SimConfig,
        *,
        clock: Clock,
        wall: WallClock,
        closing: asyncio.Event,
        dialects: Mapping[str, Dialect] = MappingProxyType({}),
    ) -> None:
        self.stats = Stats()
        self.valid_keys = config.valid_keys
        self.scenario: Scenario = config.scenario
        self._config = config
        self._clock = clock
        self._wall = wall
        self._closing = closing
        self.tokens = TokenDesk(clock, wall, lifetime_s=config.token_lifetime_s)
        self._targets = {path: Target(dialect, Route(action="generate")) for path, dialect in dialects.items()}
        self._limits = Limits(config.limits)
        self._prices = PriceList(config.prices)
        self._started = clock()
        self._requests = 0
        self._cache: dict[bytes, Prepared] = {}

    def reset(self) -> None:
        """Clear statistics and limits and start the scenario's time again."""
        self.stats.clear()
        self._limits.clear()
        self._started = self._clock()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path in google_tokens.ROUTES:
            return await self.tokens.handle(request)
        target = self._targets.get(request.path) or resolve(request.path, request.query, request.headers)
        self._requests += 1
        request_id = _request_id(self._config.seed, self._requests)
        if target is None:
            return self._refuse(family(request.path), Trouble(kind="no_route"), request_id)
        dialect, route = target
        if route.action == "alive":
            return web.Response(body=b'"I\'m alive!"', headers={"Content-Type": JSON})
        key = dialect.key(request.headers, request.query)
        if route.action == "models":
            trouble = self._key_trouble(key)
            if trouble is not None:
                return self._refuse(dialect, trouble, request_id)
            return web.Response(body=dialect.models(), headers={"Content-Type": JSON})
        if request.method != "POST":
            return self._refuse(dialect, Trouble(kind="no_method"), request_id)
        visit = self.stats.begin(self._clock() - self._started, key, request.path)
        number = self.stats.total.asked
        turn: Turn | None = None
        try:
            outcome = await self._admit(request, target, key, visit, number, request_id)
            if isinstance(outcome, web.StreamResponse):
                return outcome
            turn, fault = outcome
            return await self._answer(turn, fault, request_id)
        except asyncio.CancelledError:
            self._vanished(visit, turn)
            raise
        except ConnectionError:
            self._vanished(visit, turn)
            return web.Response(status=499)

    async def _admit(
        self, request: web.BaseRequest, target: Target, key: str, visit: Visit, number: int, request_id: str
    ) -> web.StreamResponse | tuple[Turn, Fault | None]:
        dialect, route = target
        named = request.headers.get(FAULT_HEADER)

        def refuse(trouble: Trouble, *, over_limit: bool = False) -> web.StreamResponse:
            return self._refuse(dialect, trouble, request_id, visit=visit, over_limit=over_limit)

        try:
            fault = parse_fault(named) if named else None
        except FaultError as error:
            return refuse(Trouble(kind="bad_request", message=str(error), param=FAULT_HEADER))
        trouble = self._key_trouble(key)
        if trouble is not None:
            return refuse(trouble)
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            visit.end("rejected", status=413)
            raise
        try:
            prepared = self._prepare(request, target, raw)
        except BadAsk as error:
            return refuse(Trouble(kind="bad_request", message=error.message, param=error.param))
        ask, answer = prepared.ask, prepared.answer
        tokens = verdict_tokens(answer)
        visit.asks(ask.last_user, tokens)
        if ask.model.startswith("missing-"):
            return refuse(Trouble(kind="no_model", model=ask.model))
        verdict = self._limits.arrive(key, self._clock(), tokens)
        if verdict is not None and not admitted(verdict):
            over = Trouble(kind="rate_limit", verdict=verdict, retry_after_s=verdict.retry_after_s, model=ask.model)
            return refuse(over, over_limit=True)
        if fault is None:
            fault = self.scenario.strike(self._config.seed, number, visit.arrival.t, request.path)
        turn = Turn(
            request=request,
            dialect=dialect,
            visit=visit,
            ask=ask,
            answer=answer,
            headers=dialect.headers(request_id, ask, answer, verdict, self._wall()),
            prices=self._prices,
            stream=ask.stream if route.stream is None else route.stream,
            unary=prepared.unary,
        )
        if not turn.stream and prepared.unary is None:
            prepared.unary = turn.render()
        return turn, fault

    async def _answer(self, turn: Turn, fault: Fault | None, request_id: str) -> web.StreamResponse:
        config = self._config
        if fault is not None:
            self.stats.by_fault[fault.name] += 1
            breaking = broken.Breaking(
                turn=turn,
                fault=fault,
                request_id=request_id,
                wall=self._wall,
                closing=self._closing,
                latency_s=config.latency_s,
                chunk_delay_s=config.chunk_delay_s,
            )
            return await breaking.send()
        turn.begin()
        if config.latency_s > 0:
            await pause(config.latency_s)
        if turn.stream:
            return await send_stream(turn, config.chunk_delay_s)
        return await send_unary(turn)

    def _prepare(self, request: web.BaseRequest, target: Target, raw: bytes) -> Prepared:
        dialect, route = target
        key = b""
        if len(raw) <= CACHED_BODY_BYTES:
            digest = hashlib.blake2b(f"{dialect.name} {route.variant} {request.path}\0".encode(), digest_size=16)
            digest.update(raw)
            key = digest.digest()
            known = self._cache.get(key)
            if known is not None:
                return known
        if route.action == "generate":
            ask = dialect.read(raw, route)
            prepared = Prepared(ask, getattr(dialect, "compose", compose)(self._config.seed, ask))
        else:
            ask, body = dialect.other(raw, route)
            if route.action == "count":
                ask = msgspec.structs.replace(ask, input_tokens=0)  # neither billed nor counted against a limit
            prepared = Prepared(ask, _without_output(ask), body)
        if key:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[key] = prepared
        return prepared

    def _key_trouble(self, key: str) -> Trouble | None:
        if not key:
            return Trouble(kind="no_key")
        if self.tokens.refuses(key) or (self.valid_keys is not None and key not in self.valid_keys):
            return Trouble(kind="bad_key")
        return None

    def _refuse(
        self,
        dialect: Dialect,
        trouble: Trouble,
        request_id: str,
        *,
        visit: Visit | None = None,
        over_limit: bool = False,
    ) -> web.Response:
        refusal = dialect.refusal(trouble, request_id, self._wall())
        if visit is not None:
            visit.end("rejected", status=refusal.status, over_limit=over_limit)
        return as_response(refusal)

    def _vanished(self, visit: Visit, turn: Turn | None) -> None:
        outcome = "spoiled" if self._closing.is_set() else "disconnected"
        visit.end(outcome, billed_pico=0 if turn is None else turn.cost_pico())


def as_response(refusal: Refusal) -> web.Response:
    """Return a refusal as a response."""
    return web.Response(
        status=refusal.status, body=refusal.body, headers={**refusal.headers, "Content-Type": refusal.content_type}
    )


def _request_id(seed: int, number: int) -> str:
    return "req_" + hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=12).hexdigest()


def _without_output(ask: Ask) -> Answer:
    return Answer(
        digest=ask.fingerprint,
        thought=(),
        pieces=(),
        call=None,
        finish="stop",
        stop_sequence=None,
        input_tokens=ask.input_tokens,
        output_tokens=0,
    )
