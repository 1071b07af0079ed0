"""`spillway serve` as a process beside a simulator in the test's own loop, and a bare client of it."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ADMIN = "key-of-the-admin"


def project(url, *, keys=("key-a",), gateway="", more="", deployments=("gpt-4o-mini",), options=""):
    """A project file before the simulator at `url`; the first key is of `a`, the next of `b`, and so on."""
    tenants = "".join(
        f'[[gateway.keys]]\nname = "{chr(97 + n)}"\nkey = {{ inline = "{key}" }}\n' for n, key in enumerate(keys)
    )
    return f'[gateway]\nbind = "127.0.0.1:0"\n{gateway}\n{tenants}' + "".join(
        f"""
[[deployment]]
name = "{name}"
runtime = "openai"
model = "gpt-4o-mini"
{options}
[deployment.runtime_config]
endpoint = "{url}/v1"
api_key = {{ from_env = "OPENAI_API_KEY" }}
{more}
"""
        for name in deployments
    )


class Serving:
    """One `spillway serve` under way; its output goes to files, so that nothing has to be drained."""

    def __init__(self, folder, text=None, *args, **environ):
        self.folder = folder
        self.file = folder / "spillway.toml"
        if text is not None:
            self.file.write_text(text)
            self.file.chmod(0o600)
        # Read by path: whoever reads by the descriptor that the process writes to moves the place where it writes.
        self._logs = tempfile.TemporaryDirectory()
        self._out, self._err = Path(self._logs.name, "out"), Path(self._logs.name, "err")
        env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "OPENAI_API_KEY": "sk-test", "PYTHONWARNINGS": "error",
            "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", ""), **environ,
        }  # fmt: skip
        argv = [sys.executable, "-m", "spillway", "serve", *args]
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self.popen = subprocess.Popen(argv, cwd=folder, env=env, stdout=out, stderr=err)
        self.port = 0

    @property
    def said(self):
        return self._err.read_text()

    @property
    def printed(self):
        return self._out.read_text()

    async def up(self):
        """Wait until it serves; return itself."""
        found = await self.says(r"serving: http://\S+?:(\d+)/v1")
        self.port = int(found[1])
        return self

    async def says(self, pattern, seconds=30.0, times=1):
        """Wait until a line matches so many times; return the last match."""
        until = time.monotonic() + seconds
        while True:
            found = list(re.finditer(pattern, self.said))
            if len(found) >= times:
                return found[times - 1]
            assert self.popen.poll() is None, f"ended: {self.popen.returncode}\n{self.said}"
            assert time.monotonic() < until, f"never said {pattern!r}:\n{self.said}"
            await asyncio.sleep(0.02)

    def send(self, number):
        self.popen.send_signal(number)

    async def ends(self, seconds=45.0):
        """Return its exit code."""
        until = time.monotonic() + seconds
        while self.popen.poll() is None:
            assert time.monotonic() < until, f"still running after {seconds} s:\n{self.said}"
            await asyncio.sleep(0.01)
        return self.popen.returncode

    def close(self):
        if self.popen.poll() is None:
            self.send(signal.SIGKILL)
        self.popen.wait()
        self._logs.cleanup()

    async def ask(self, method, path, body=None, *, key="key-a", on_bytes=None, headers=""):
        """One request on a connection of its own; return status, headers and the body as it came until the end.

        Args:
            on_bytes: an event that is set once something of the answer has come.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            data = b"" if body is None else json.dumps(body).encode()
            kind = "content-type: application/json\r\n" if data else ""
            writer.write(
                f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n{kind}{headers}"
                f"content-length: {len(data)}\r\nconnection: close\r\n\r\n".encode()
                + data
            )
            whole = b""
            while piece := await asyncio.wait_for(reader.read(1 << 16), 60.0):
                whole += piece
                if on_bytes is not None and b"data:" in whole:
                    on_bytes.set()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        head, _, rest = whole.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        named = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), named, rest

    async def chat(self, text="hi", *, model="gpt-4o-mini", stream=False, **options):
        body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
        return await self.ask("POST", "/v1/chat/completions", body, **options)


def outcome(body):
    """How a stream ended for its caller: `done`, `error`, or `cut` when nobody said."""
    if b"data: [DONE]" in body:
        return "done"
    return "error" if b'data: {"error"' in body else "cut"
