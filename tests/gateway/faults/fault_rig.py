"""A gateway before a simulator that fails every request in one way, with everything counted that can be left behind."""

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import spillway
from spillway.gateway.app import Gateway
from spillway.runtime.project import GatewayKey
from spillway.sim import Phase, Scenario, SimConfig, Simulator

UPSTREAM = spillway.Secret("sk-test-upstream")
SHORT_S = 0.4
LONG_S = 10.0
MODELS = {"openai": "gpt-4o-mini", "responses": "gpt-6-luna", "anthropic": "claude-haiku-4-5"}
ROADS = (
    ("chat", "openai"),
    ("chat", "anthropic"),
    ("responses", "responses"),
    ("responses", "anthropic"),
    ("messages", "anthropic"),
    ("messages", "openai"),
)
"""Through which door to which API: each door to its own, and to another's."""

PROMPT = "Say 30 words"
_ASKED = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": PROMPT}], "max_completion_tokens": 100}),
    "responses": ("/v1/responses", {"input": PROMPT, "max_output_tokens": 100}),
    "messages": ("/v1/messages", {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 100}),
}


class Told(NamedTuple):
    """What the client was told: the answer's head, and its body, of a stream as events."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of a stream's events, read where they are JSON."""
        found = []
        for block in self.body.decode().split("\n\n"):
            data = [line[6:] for line in block.split("\n") if line.startswith("data: ")]
            if data:
                found.append(json.loads(data[0]) if data[0].startswith("{") else data[0])
        return found


class Books:
    """Everything the engines and the gateway tell."""

    def __init__(self):
        self.attempts, self.requests, self.served = [], [], []

    def on_attempt(self, record):
        self.attempts.append(record)

    def on_request(self, record):
        self.requests.append(record)

    def on_served(self, record):
        self.served.append(record)


class Rig:
    """One gateway with one deployment `m` and one key, the simulator behind it, and the books of all."""

    def __init__(self, gateway, cluster, simulator, books):
        self.gateway, self.cluster, self.simulator, self.books = gateway, cluster, simulator, books

    async def ask(self, door, *, stream):
        path, body = _ASKED[door]
        raw = json.dumps({"model": "m", **body, "stream": stream}).encode()
        told, pieces, left = {}, [], asyncio.Event()
        first = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive():
            if not first:
                await left.wait()
                return {"type": "http.disconnect"}
            return first.pop()

        async def send(message):
            if message["type"] == "http.response.start":
                told.update(message)
            else:
                pieces.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"content-type", b"application/json"), (b"authorization", b"Bearer key-a")],
            "client": ("127.0.0.1", 1),
        }
        async with asyncio.timeout(20):
            await self.gateway(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in told["headers"]}
        return Told(told["status"], headers, b"".join(pieces))

    @property
    def breaker(self):
        return self.cluster.deployment("m").circuit_breaker().snapshot()

    async def simulated(self):
        """What the simulator has counted, once it has seen the end of all that it was asked."""
        async with asyncio.timeout(LONG_S):
            while self.simulator.stats()["in_flight"]:
                await asyncio.sleep(0.005)
        return self.simulator.stats()

    @property
    def ledgers(self):
        """The deployment's ledger and the key's."""
        return self.cluster.deployment("m").budget(), self.gateway.callers.every[0].ledger

    def holds_nothing(self):
        """Nothing is in flight or reserved, and deployment, key, records and gateway tell of the same cost."""
        deployed, metrics = self.cluster.deployment("m"), self.cluster.metrics().per_deployment["m"]
        limits = deployed.rate_limiter().snapshot()
        assert self.gateway.in_flight == 0
        assert (metrics.busy, metrics.queued) == (0, 0)
        assert (limits.in_flight, limits.waiting, limits.requests.unsent, limits.tokens.unsent) == (0, 0, 0, 0)
        cost = sum(record.cost_pico for record in self.books.attempts)
        for ledger in self.ledgers:
            shot = ledger.snapshot()
            assert (shot.open, shot.reserved_pico, shot.spent_pico, shot.overruns) == (0, 0, cost, 0)
        (served,) = self.books.served
        assert served.cost_pico == cost
        assert served.attempts == len(self.books.attempts) == metrics.attempts
        return cost


@asynccontextmanager
async def rig(fault, api):
    """Give a rig whose every request meets `fault`; at its end nothing is held."""
    books = Books()
    scenario = Scenario((Phase(fault=fault),))
    async with Simulator(SimConfig(seed=1, scenario=scenario)) as simulator:
        deployment = spillway.Deployment(
            name="m",
            model=MODELS[api],
            runtime_config=_config(api, simulator.url),
            retry=spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.001),
            timeouts=_timeouts(fault),
            rate_limits=spillway.RateLimits(
                requests_per_minute=1_000, tokens_per_minute=10_000_000, concurrent_requests=10
            ),
            budget=spillway.Budget(max_spend_per_day_usd=1e6),
        )
        key = GatewayKey(name="a", key=spillway.Secret("key-a"), max_spend_per_day_usd=1e6)
        async with spillway.Cluster([deployment], environ={}, observers=[books]) as cluster:
            gateway = Gateway(cluster, [(key, key.key)], listeners=[books])
            yield Rig(gateway, cluster, simulator, books)


def _timeouts(fault):
    """Short ones where a fault is one of time, and only those that it is to meet."""
    silent = fault in {"stall-before-headers", "slow-drip"}
    return spillway.Timeouts(
        unary_timeout_s=SHORT_S if silent or fault == "stall-mid-stream" else LONG_S,
        first_byte_timeout_s=SHORT_S if silent else LONG_S,
        idle_timeout_s=SHORT_S if fault == "stall-mid-stream" else LONG_S,
        total_timeout_s=LONG_S,
    )


def _config(api, url):
    if api == "anthropic":
        return spillway.AnthropicConfig(endpoint=url, api_key=UPSTREAM)
    return spillway.OpenAiConfig(
        endpoint=f"{url}/v1", api_key=UPSTREAM, api="responses" if api == "responses" else "chat"
    )
