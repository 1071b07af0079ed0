"""One request through the ASGI door of a gateway, and what is read at `/metrics`."""

import asyncio
import json

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

import spillway
from spillway.gateway import create_app
from spillway.runtime.project import GatewayKey

ADMIN = {"authorization": "Bearer admin-secret"}
TEAM = {"authorization": "Bearer team-secret"}


class Asked:
    """What came back."""

    def __init__(self):
        self.status = 0
        self.headers = {}
        self.body = b""

    def json(self):
        return json.loads(self.body)

    def events(self):
        lines = self.body.decode().split("\n\n")
        return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


async def ask(app, method, path, body=None, headers=(), *, peer="127.0.0.1", slow_s=0.0, slow_body_s=0.0, leave=None):
    """Send one request and return its answer; the caller takes `slow_s` for each piece, and leaves when `leave` is set."""
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    answer, sent = Asked(), False
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(n.encode(), v.encode()) for n, v in dict(headers).items()],
        "client": (peer, 5),
    }

    async def receive():
        nonlocal sent
        if not sent:
            sent = True
            await asyncio.sleep(slow_body_s)
            return {"type": "http.request", "body": raw, "more_body": False}
        await (leave or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {n.decode(): v.decode() for n, v in message["headers"]}
        else:
            answer.body += message["body"]
        if slow_s:
            await asyncio.sleep(slow_s)

    await app(scope, receive, send)
    return answer


class Scraped:
    """What `/metrics` said: values by name and labels."""

    def __init__(self, text):
        self.text = text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name, **labels):
        """The sum over the rows that have these labels."""
        found = [s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(found)

    def rows(self, name):
        return {tuple(s.labels.items()): s.value for s in self.samples if s.name == name}


class Gate:
    """A gateway before a simulator, with a key `team` and the admin key."""

    def __init__(self, sim, *, deployments=None, key=None, observers=(), listeners=(), **options):
        self.sim = sim
        deployments = deployments or [self.deployment("gpt-4o-mini")]
        self.cluster = spillway.Cluster(deployments, environ={}, observers=observers)
        keys = [(key or GatewayKey(name="team", key=spillway.Secret("-")), spillway.Secret("team-secret"))]
        self.app = create_app(
            self.cluster, keys=keys, admin_key=spillway.Secret("admin-secret"), listeners=listeners, **options
        )

    def deployment(self, name, **options):
        config = spillway.OpenAiConfig(endpoint=self.sim.url + "/v1", api_key=spillway.Secret("sk-sim"))
        return spillway.Deployment(name=name, **{"model": "gpt-4o-mini", "runtime_config": config, **options})

    async def __aenter__(self):
        await self.cluster.start()
        return self

    async def __aexit__(self, *_):
        await self.cluster.aclose()

    async def chat(self, model="gpt-4o-mini", *, headers=(), fault=None, how=None, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": "Say hello"}], **fields}
        return await ask(self.app, "POST", "/v1/chat/completions", body, {**TEAM, **dict(headers)}, **(how or {}))

    async def scrape(self, **headers):
        answer = await ask(self.app, "GET", "/metrics", None, {**ADMIN, **headers})
        assert answer.status == 200, answer.body
        return Scraped(answer.body.decode())

    async def sim_stats(self):
        async with aiohttp.ClientSession() as session, session.get(self.sim.url + "/sim/stats") as answer:
            return await answer.json()
