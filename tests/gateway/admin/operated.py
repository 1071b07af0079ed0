"""A gateway of scripted deployments in virtual time, and an operator and callers that speak ASGI with it."""

import asyncio
import json

import spillway
from spillway.gateway import create_app
from spillway.testing import ScriptedRunner, run_virtual

PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


class Answer:
    """A whole answer over ASGI."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def said(self):
        return self.json["error"]["message"]

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Line:
    """One connection: what is sent on it, and whether its other end has left."""

    def __init__(self, app, method, path, body=b"", headers=(), peer="127.0.0.1"):
        self.left = asyncio.Event()
        self.taking = asyncio.Event()
        self.taking.set()
        self.sent = []
        self._read = False
        self._body = body
        head = [(b"host", b"127.0.0.1:8080"), *((k.encode(), v.encode()) for k, v in dict(headers).items())]
        self.scope = {
            "type": "http", "method": method, "path": path, "query_string": b"", "headers": head, "client": (peer, 5000),
            "http_version": "1.1", "scheme": "http", "raw_path": path.encode(), "server": ("127.0.0.1", 8080),
        }  # fmt: skip
        self.task = asyncio.ensure_future(app(self.scope, self._receive, self._send))

    async def _receive(self):
        if not self._read:
            self._read = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self.taking.wait()
        self.sent.append(message)

    @property
    def answer(self):
        start = self.sent[0]
        headers = {k.decode(): v.decode() for k, v in start["headers"]}
        return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in self.sent[1:]))

    def events(self, name=None):
        """The events that came so far, `(name, data)`, or the data of one name."""
        frames = self.answer.body.decode().split("\n\n")[:-1]
        found = [(f.split("\n")[0].removeprefix("event: "), json.loads(f.split("\ndata: ")[1])) for f in frames]
        return found if name is None else [data for each, data in found if each == name]

    async def leave(self):
        self.left.set()
        await self.task


class Operated:
    """A gateway and what is behind it."""

    def __init__(self, runners, deployments, **options):
        self.runners = runners
        made = {name: (lambda _d, r=runner: r) for name, runner in runners.items()}
        self.cluster = spillway.Cluster(deployments, runners=made, environ={})
        self.app = create_app(self.cluster, **options)

    def open(self, method, path, body=None, **more):
        headers = dict(more.pop("headers", {}))
        if body is not None:
            headers.setdefault("content-type", "application/json")
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return Line(self.app, method, path, raw, headers, **more)

    async def ask(self, method, path, body=None, **more):
        line = self.open(method, path, body, **more)
        await line.task
        return line.answer

    async def get(self, path, **more):
        return await self.ask("GET", path, **more)

    async def do(self, name, action, body=None, **more):
        return await self.ask("POST", f"/admin/deployments/{name}/{action}", {} if body is None else body, **more)

    async def state(self, name="m"):
        answer = await self.get(f"/admin/deployments/{name}")
        assert answer.status == 200, answer
        return answer.json

    async def chat(self, model="m", stream=False, **more):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "hi"}],
            "stream": stream,
            **more.pop("body", {}),
        }
        return await self.ask("POST", "/v1/chat/completions", body, **more)


def operate(test, script=("ok",), *, scripts=None, deployments=None, **options):
    """Run `await test(operated)` in virtual time on the deployment `m`, or on several."""
    gateway = {name: options.pop(name) for name in ("keys", "admin_key", "listeners") if name in options}
    scripts = {"m": script} if scripts is None else scripts
    if deployments is None:
        options.setdefault("pricing", PRICE)
        deployments = [spillway.Deployment(name=name, **options) for name in scripts]
    runners = {name: s if isinstance(s, ScriptedRunner) else ScriptedRunner(s) for name, s in scripts.items()}

    async def main():
        operated = Operated(runners, deployments, **gateway)
        async with operated.cluster:
            return await test(operated)

    return run_virtual(main())
