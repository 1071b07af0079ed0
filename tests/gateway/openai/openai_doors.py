"""A gateway in this process before the simulator, asked over ASGI, with a deployment of each runtime."""

import asyncio
import json
from contextlib import asynccontextmanager

import spillway
from spillway.gateway.app import Gateway
from spillway.sim import SimConfig, Simulator

KEY = spillway.Secret("sk-test-upstream")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FLAT = {"type": "function", "name": "weather", "description": "tells it", "parameters": CITY, "strict": False}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TRANSLATED = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "lite")
EVERY = (*TRANSLATED, "luna")


def deployments(url, **more):
    """One deployment of each runtime, and one that speaks the Responses API, before a simulator at `url`."""

    def of(name, runtime, config, model=""):
        return spillway.Deployment(
            name=name, runtime=runtime, runtime_config=config, **({"model": model} if model else {}), **more
        )

    openai = spillway.OpenAiConfig(endpoint=f"{url}/v1", api_key=KEY)
    return [
        of("gpt-4o-mini", "openai", openai),
        of("claude-haiku-4-5", "anthropic", spillway.AnthropicConfig(endpoint=url, api_key=KEY)),
        of("gemini-2.5-flash", "gemini", spillway.GeminiConfig(endpoint=url, api_key=KEY)),
        of(
            "lite",
            "litellm",
            spillway.LiteLlmConfig(endpoint=f"{url}/litellm/v1", api_key=KEY),
            model="gpt-4o-mini",
        ),
        of(
            "luna",
            "openai",
            spillway.OpenAiConfig(endpoint=f"{url}/v1", api_key=KEY, api="responses"),
            model="gpt-6-luna",
        ),
        of("text-embedding-3-small", "openai", openai),
    ]


class Answered:
    """An answer of the gateway: `status`, `headers`, `body` as bytes."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """The events of a stream, as pairs of name and data."""
        found = []
        for block in self.body.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "data" in lines:
                data = lines["data"]
                found.append((lines.get("event"), json.loads(data) if data.startswith("{") else data))
        return found


async def ask(gateway, path, body=None, *, method="POST", headers=(), **fields):
    """Ask the gateway; return what it answered."""
    given = json.dumps({**(body or {}), **fields}).encode() if method == "POST" else b""
    told, pieces = {}, []
    never = asyncio.Event()
    first = [{"type": "http.request", "body": given, "more_body": False}]

    async def receive():
        if not first:
            await never.wait()
        return first.pop()

    async def send(message):
        if message["type"] == "http.response.start":
            told.update(status=message["status"], headers=message["headers"])
        else:
            pieces.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
    }
    async with asyncio.timeout(20):
        await gateway(scope, receive, send)
    head = {name.decode(): value.decode() for name, value in told["headers"]}
    return Answered(told["status"], head, b"".join(pieces))


@asynccontextmanager
async def before_simulator(*, keys=(), sim=None, **more):
    """Give a gateway of all deployments before a simulator."""
    async with Simulator(sim or SimConfig(seed=1)) as simulator:
        async with spillway.Cluster(deployments(simulator.url, **more)) as cluster:
            gateway = Gateway(cluster, keys)
            gateway.simulator = simulator
            yield gateway


async def responded(gateway, model, *, stream=False, **fields):
    """Ask for a response; return its object, of a stream that of its last event."""
    answer = await ask(gateway, "/v1/responses", {"model": model, "input": "Say hello", **fields}, stream=stream)
    assert answer.status == 200, answer.body
    return answer.events[-1][1]["response"] if stream else answer.json
