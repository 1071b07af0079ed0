"""A gateway in front of scripted deployments, in virtual time, and callers who speak ASGI with it."""

import asyncio
import json

import spillway
from spillway.core.secrets import Secret
from spillway.gateway import create_app
from spillway.runtime.project import GatewayKey
from spillway.testing import Reply, ScriptedRunner, run_virtual

PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


def deployment(name="m", **options):
    options.setdefault("pricing", PRICE)
    options.setdefault("retry", spillway.RetryPolicy(max_retries=0))
    return spillway.Deployment(name=name, **options)


def key(name, **limits):
    return GatewayKey(name=name, key=Secret("-"), **limits), Secret(f"key-{name}")


class Answer:
    """What came back over ASGI, and when."""

    def __init__(self, messages, at):
        self.at = at
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(m.get("body", b"") for m in messages[1:])

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def message(self):
        return self.json["error"]["message"]

    @property
    def limited_by(self):
        return self.headers.get("x-spillway-limited-by")

    @property
    def wait(self):
        return self.headers.get("retry-after")

    def __repr__(self):
        return f"{self.status} at {self.at:g}: {self.headers} {self.body[:200]!r}"


class Stage:
    """One gateway, the runners behind it, and the time since it began."""

    def __init__(self, runners, deployments, keys, *, admin_key="adm", **options):
        self.runners = runners
        self.cluster = spillway.Cluster(
            deployments, runners={n: (lambda _d, r=r: r) for n, r in runners.items()}, environ={}, **options
        )
        self.app = create_app(self.cluster, keys=keys, admin_key=Secret(admin_key))
        self.began = asyncio.get_running_loop().time()

    @property
    def now(self):
        return asyncio.get_running_loop().time() - self.began

    async def http(self, method, path, body=b"", headers=()):
        """Send one request and return its whole answer."""
        path, _, query = path.partition("?")
        scope = {
            "type": "http", "method": method, "path": path, "query_string": query.encode(),
            "client": ("127.0.0.1", 5), "headers": [(n.encode(), v.encode()) for n, v in headers],
        }  # fmt: skip
        inbox = asyncio.Queue()
        inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
        sent = []

        async def send(message):
            sent.append(message)

        await self.app(scope, inbox.get, send)
        return Answer(sent, self.now)

    async def ask(self, who="a", model="m", *, body=None, **headers):
        """One chat completion of a key; keywords are headers, `timeout_s=3` is `x-spillway-timeout-s: 3`."""
        sent = [("authorization", f"Bearer key-{who}")]
        sent += [("x-spillway-" + name.replace("_", "-"), str(value)) for name, value in headers.items()]
        asked = {"model": model, "messages": [{"role": "user", "content": who}], "max_tokens": 10, **(body or {})}
        return await self.http("POST", "/v1/chat/completions", json.dumps(asked).encode(), sent)

    async def admin(self, path, method="GET"):
        return await self.http(method, path, headers=[("authorization", "Bearer adm")])

    def order(self, name="m"):
        """Whose requests reached the provider, in that order."""
        return [call.batch.request.messages[0]["content"] for call in self.runners[name].calls]


def play(test, *replies, deployments=None, keys=("a", "b"), scripts=None, **options):
    """Run `test(stage)` in virtual time; every deployment answers by `replies`, or by its own of `scripts`."""

    async def main():
        found = deployments or [deployment(**options.pop("of", {}))]
        runners = {d.name: ScriptedRunner((scripts or {}).get(d.name) or replies or (Reply(text="hi"),)) for d in found}
        known = [key(k) if isinstance(k, str) else k for k in keys]
        stage = Stage(runners, found, known, **options)
        async with stage.cluster:
            await test(stage)

    run_virtual(main())
