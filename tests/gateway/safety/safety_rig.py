"""A gateway as a process, a provider that records, raw connections to the one, and the app without any server."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import spillway
from spillway.core.secrets import Secret
from spillway.gateway import create_app
from spillway.runtime.project import GatewayKey

KEY, OTHER_KEY, ADMIN_KEY, UPSTREAM_KEY = "key-of-team-a", "key-of-team-b", "key-of-the-admin", "sk-upstream-secret"
BEARER = {"authorization": f"Bearer {KEY}"}
CHAT = "/v1/chat/completions"


def said(text="hi", model="gpt-4o-mini", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


class Upstream:
    """A provider in a process of its own: answers every wire with one sentence, and keeps what it was sent."""

    def __enter__(self):
        argv = [sys.executable, str(Path(__file__).parent / "recording_provider.py")]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_error):
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    @property
    def requests(self):
        """Path, headers (names in lower case) and body of each request so far."""
        with urllib.request.urlopen(f"{self.url}/kept", timeout=5) as answer:
            return json.load(answer)

    @property
    def poured(self):
        """Of each endless stream: how many bytes were taken, and whether it is over."""
        with urllib.request.urlopen(f"{self.url}/poured", timeout=5) as answer:
            return json.load(answer)

    def answers_with(self, status=200, headers=None, body=None):
        """Answer so from now on; without a body with the usual sentence."""
        data = json.dumps({"status": status, "headers": headers or {}, "body": body}).encode()
        with urllib.request.urlopen(f"{self.url}/answer-with", data, timeout=5):
            pass


def project(upstream, port, *, gateway="", keys=True, more=""):
    """The project file of a gateway with a deployment of each wire."""
    tenants = "".join(
        f'[[gateway.keys]]\nname = "{name}"\nkey = {{ inline = "{key}" }}\n'
        for name, key in (("team-a", KEY), ("team-b", OTHER_KEY))
    )
    return f"""
[gateway]
bind = "127.0.0.1:{port}"
{gateway}
{tenants if keys else ""}
[defaults.retry]
max_retries = 0
""" + "".join(
        f"""
[[deployment]]
name = "{name}"
runtime = "{runtime}"
[deployment.runtime_config]
endpoint = "{upstream}{path}"
api_key = {{ inline = "{UPSTREAM_KEY}" }}
"""
        for name, runtime, path in (
            ("gpt-4o-mini", "openai", "/v1"),
            ("claude-haiku-4-5", "anthropic", ""),
            ("gemini-2.5-flash", "gemini", ""),
            ("house", "litellm", "/v1"),
            ("text-embedding-3-small", "openai", "/v1"),
        )
    ) + more  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """`spillway serve` in a folder of its own; what it prints goes to the file `log` there."""

    def __init__(self, folder, upstream, *, through=(), environ=None, admin=True, **options):
        self.folder, self.port, self._through = folder, free_port(), through
        self.log = folder / "log"
        gateway = options.pop("gateway", "") + (f'\nadmin_key = {{ inline = "{ADMIN_KEY}" }}' if admin else "")
        (folder / "spillway.toml").write_text(project(upstream, self.port, gateway=gateway, **options))
        self._environ = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            **(environ or {}),
        }  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        with self.log.open("wb") as log:
            argv = [*self._through, sys.executable, "-m", "spillway", "serve"]
            self.process = subprocess.Popen(argv, cwd=self.folder, env=self._environ, stdout=log, stderr=log)
        until = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):
                    return self
            except OSError:
                assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
                time.sleep(0.02)

    def __exit__(self, *_error):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def connect(self, **options):
        return socket.create_connection(("127.0.0.1", self.port), timeout=options.get("timeout", 5))

    def raw(self, data, patience_s=2.0):
        """Send bytes; return everything that came back, and whether the connection was closed by the gateway."""
        with self.connect(timeout=patience_s) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(data)
            return drained(sock)

    def ask(self, method, path, headers=None, body=None, *, patience_s=2.0):
        """Send one request and return its answer."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"host": f"127.0.0.1:{self.port}", "connection": "close", **(headers or {})}
        if body is not None:
            fields = {"content-length": str(len(data)), "content-type": "application/json", **fields}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v is not None)
        came, _ = self.raw(head.encode("latin-1") + b"\r\n" + data, patience_s)
        return answers(came)[0]


def drained(sock):
    """Read until the end, or until nothing came for the socket's timeout."""
    came = b""
    try:
        while data := sock.recv(65536):
            came += data
    except TimeoutError:
        return came, False
    except ConnectionError:
        return came, True
    return came, True


class Answer:
    """One answer off the wire."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        error = self.json["error"]
        return error["code"] if "code" in error else error["details"]["error_code"]

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:300]}>"


def answers(came):
    """The answers in what came over a connection, those of 1xx left out."""
    found = []
    while came.startswith(b"HTTP/1."):
        head, _, came = came.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name.lower() not in headers, f"{name} came twice"
            headers[name.lower()] = value
        status = int(first.split(" ")[1])
        length = int(headers.get("content-length", 0))
        if headers.get("transfer-encoding") == "chunked":
            body, came = _dechunked(came)
        else:
            body, came = came[:length], came[length:]
        if status >= 200:
            found.append(Answer(status, headers, body))
    assert not came, came[:200]
    return found


def _dechunked(came):
    body = b""
    while came:
        size, _, came = came.partition(b"\r\n")
        count = int(size, 16)
        body, came = body + came[:count], came[count + 2 :]
        if count == 0:
            break
    return body, came


@contextlib.asynccontextmanager
async def app_of(upstream, *, keys=True, admin=True, **options):
    """The app alone, before a provider, with two keys."""
    rows = [(GatewayKey(name=n, key=Secret(k)), Secret(k)) for n, k in (("team-a", KEY), ("team-b", OTHER_KEY))]
    configs = {
        "gpt-4o-mini": spillway.OpenAiConfig(endpoint=f"{upstream}/v1", api_key=Secret(UPSTREAM_KEY)),
        "claude-haiku-4-5": spillway.AnthropicConfig(endpoint=upstream, api_key=Secret(UPSTREAM_KEY)),
        "gemini-2.5-flash": spillway.GeminiConfig(endpoint=upstream, api_key=Secret(UPSTREAM_KEY)),
        "house": spillway.LiteLlmConfig(endpoint=f"{upstream}/v1", api_key=Secret(UPSTREAM_KEY)),
    }
    no_retry = spillway.RetryPolicy(max_retries=0)
    deployments = [
        spillway.Deployment(name=name, runtime_config=config, retry=no_retry) for name, config in configs.items()
    ]
    async with spillway.Cluster(deployments, environ={}) as cluster:
        yield create_app(cluster, keys=rows if keys else (), admin_key=Secret(ADMIN_KEY) if admin else None, **options)


async def ask_app(app, method, path, headers=None, pieces=(), *, version="1.1", peer="127.0.0.1", receive=None):
    """Give the app one request, its body in `pieces`; return the answer and how often it asked for a piece."""
    left, sent, asked = list(pieces), [], [0]

    async def take():
        asked[0] += 1
        if receive is not None:
            return await receive()
        if asked[0] > max(len(pieces), 1):
            await asyncio.Event().wait()
        piece = left.pop(0) if left else b""
        return {"type": "http.request", "body": piece, "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    rows = (
        headers
        if isinstance(headers, list)
        else [(k.encode(), v.encode("latin-1")) for k, v in (headers or {}).items()]
    )
    if not any(name == b"host" for name, _ in rows):
        rows = [*rows, (b"host", b"localhost")]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "http_version": version, "headers": rows, "client": (peer, 1),
    }  # fmt: skip
    await app(scope, take, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], found, body), asked[0]
