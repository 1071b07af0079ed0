"""A gateway in this process, asked over ASGI, before a provider that says what a script says."""

import asyncio
import json
from contextlib import asynccontextmanager

import spillway
from spillway.gateway.app import Gateway

KEY = spillway.Secret("sk-test-upstream")
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def sse(*events):
    """Return events as a stream's bytes; what is not bytes is written as JSON, a pair has a name."""
    out = b""
    for event in events:
        if isinstance(event, tuple):
            out += b"event: %s\n" % event[0].encode()
            event = event[1]
        out += b"data: %s\n\n" % (event if isinstance(event, bytes) else json.dumps(event).encode())
    return out


def delta(text=None, finish=None, **more):
    """Return a chunk of a chat completion, the role alone when it has neither text nor end."""
    said = {"role": "assistant"} if text is None and finish is None else {} if text is None else {"content": text}
    return {"id": "c1", "choices": [{"index": 0, "delta": said, "finish_reason": finish}], **more}


def whole(text="hello", **more):
    """Return a whole chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c1", "model": "gpt-4o-mini-2024", "choices": [choice], "usage": USAGE, **more}


def openai(server, name="gpt-4o-mini", **more):
    """Return a deployment of a server that copies OpenAI's API."""
    config = spillway.OpenAiConfig(endpoint=server.url, api_key=KEY)
    return spillway.Deployment(name=name, runtime="openai", runtime_config=config, **more)


def anthropic(server, name="claude-haiku-4-5", **more):
    """Return a deployment of a server that copies Anthropic's API."""
    config = spillway.AnthropicConfig(endpoint=server.url.removesuffix("/v1"), api_key=KEY)
    return spillway.Deployment(name=name, runtime="anthropic", runtime_config=config, **more)


class Heard(list):
    """Keeps the record of every request."""

    def on_served(self, record):
        self.append(record)


class Asked:
    """One request on its way; what it was told is in `status`, `headers` and `pieces`."""

    def __init__(self, gateway, body, *, path="/v1/chat/completions", headers=(), **scope):
        self.status = 0
        self.headers = {}
        self.pieces = []
        self.over = False
        self.news = asyncio.Event()
        self.taking = asyncio.Event()
        self.taking.set()
        self._left = asyncio.Event()
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._given = False
        scope = {
            **scope,
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"content-type", b"application/json"), *headers],
            "client": ("127.0.0.1", 1),
        }
        self.task = asyncio.create_task(gateway(scope, self._receive, self._send))

    async def _receive(self):
        if not self._given:
            self._given = True
            return {"type": "http.request", "body": self._body, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self.taking.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            if message.get("body"):
                self.pieces.append(message["body"])
            self.over = not message.get("more_body", False)
        self.news.set()

    def leave(self):
        """Go away."""
        self._left.set()

    async def until(self, what):
        """Wait until `what` is true of the request."""
        async with asyncio.timeout(5):
            while not what(self):
                self.news.clear()
                await self.news.wait()

    async def end(self):
        """Wait until it is served; return it."""
        async with asyncio.timeout(10):
            await self.task
        return self

    @property
    def bytes(self):
        """What came of the body so far."""
        return b"".join(self.pieces)

    @property
    def json(self):
        """The body, read."""
        return json.loads(self.bytes)

    @property
    def events(self):
        """The data of the events that came so far, read where it is JSON."""
        said = [event.partition(b"data: ")[2] for event in self.bytes.split(b"\n\n") if b"data: " in event]
        return [json.loads(each) if each.startswith(b"{") else each for each in said]


@asynccontextmanager
async def gateway_before(*deployments, keys=(), **cluster_options):
    """Give a gateway of these deployments; its cluster is closed after."""
    heard = Heard()
    async with spillway.Cluster(list(deployments), **cluster_options) as cluster:
        gateway = Gateway(cluster, keys, listeners=[heard])
        gateway.heard = heard
        yield gateway


def chat(**more):
    """Return the body of a chat completion."""
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}], **more}
