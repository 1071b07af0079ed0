"""`spillway run` as a process beside a simulator in the test's own loop."""

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

from spillway.sim import SimConfig, Simulator

PRICES = """
[deployment.pricing]
input_per_mtok_usd  = {input}
output_per_mtok_usd = {output}
"""


def config(url, *, name="m", more="", prices=(0.15, 0.6), key='{ from_env = "OPENAI_API_KEY" }'):
    return f"""
[[deployment]]
name    = "{name}"
model   = "gpt-4o-mini"
runtime = "openai"
[deployment.runtime_config]
endpoint = "{url}/v1"
api_key  = {key}
{PRICES.format(input=prices[0], output=prices[1]) if prices else ""}
{more}
"""


def prompts(count, start=0, **more):
    return "".join(
        json.dumps({"id": f"a{i}", "prompt": f"say {i}", **more}) + "\n" for i in range(start, start + count)
    )


class Ended:
    """One `spillway run` that is over: its exit code and what it printed."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit {self.code}\n{self.out}\n{self.err}"


class Process:
    """One `spillway run` under way; its output goes to files, so that nothing has to be drained."""

    def __init__(self, argv, stdin=subprocess.DEVNULL, **options):
        self.files = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
        self.popen = subprocess.Popen(argv, stdin=stdin, stdout=self.files[0], stderr=self.files[1], **options)

    @property
    def over(self):
        return self.popen.poll() is not None

    def kill(self, number=signal.SIGKILL):
        self.popen.send_signal(number)

    async def wait(self, seconds):
        """Return whether it is over within so many seconds."""
        until = time.monotonic() + seconds
        while not self.over and time.monotonic() < until:
            await asyncio.sleep(0.003)
        return self.over

    def close(self):
        if not self.over:
            self.kill()
        self.popen.wait()
        for file in self.files:
            file.close()

    async def end(self, seconds=60):
        if not await self.wait(seconds):
            self.kill(signal.SIGABRT)
            await self.wait(5)
        self.popen.wait()
        texts = []
        for file in self.files:
            file.seek(0)
            texts.append(file.read().decode())
        ended = Ended(self.popen.returncode, *texts)
        assert ended.code != -signal.SIGABRT, f"still running after {seconds} s: {ended}"
        return ended


class World:
    """A folder with a project file, an input and an output, and the simulator they lead to."""

    def __init__(self, folder, sim):
        self.folder, self.sim = folder, sim
        self.processes = []
        self.input, self.output = folder / "in.jsonl", folder / "out.jsonl"
        self.sidecar = folder / "out.jsonl.spillway"
        self.environ = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "OPENAI_API_KEY": "sk-test", "PYTHONWARNINGS": "error",
            "PYTHONFAULTHANDLER": "1",
            # A file size limit also cuts the interpreter's own caches short, and it would read them for ever after.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }  # fmt: skip

    def project(self, text=None, **options):
        (self.folder / "spillway.toml").write_text(config(self.sim.url, **options) if text is None else text)

    def spawn(
        self, *args, stdin=subprocess.DEVNULL, input_="in.jsonl", output=("-o", "out.jsonl"), through=(), **environ
    ):
        argv = [*through, sys.executable, "-m", "spillway", "run", input_, *output, *map(str, args)]
        self.processes.append(Process(argv, stdin, cwd=self.folder, env={**self.environ, **environ}))
        return self.processes[-1]

    async def run(self, *args, seconds=60, **options):
        return await self.spawn(*args, **options).end(seconds)

    async def written(self, lines, process):
        """Wait until the output has so many lines."""
        while self.count() < lines:
            assert not process.over, repr(await process.end())
            await asyncio.sleep(0.005)

    def count(self):
        return self.output.read_bytes().count(b"\n") if self.output.exists() else 0

    def lines(self):
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def results(self):
        """Results by custom_id; every line is whole and every id is there once."""
        assert not self.output.stat().st_size or self.output.read_bytes().endswith(b"\n")
        lines = self.lines()
        found = {line["custom_id"]: line for line in lines}
        assert len(found) == len(lines)
        return found

    def sorted_lines(self):
        """The output without what the simulator numbers its requests by."""
        text = re.sub(r'"request_id":"[^"]*"', '"request_id":""', self.output.read_text())
        return sorted(text.splitlines())

    def forget(self):
        self.output.unlink(missing_ok=True)
        self.sidecar.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def world(folder, **settings):
    settings.setdefault("seed", 1)
    async with Simulator(SimConfig(**settings)) as sim:
        here = World(folder, sim)
        here.project()
        try:
            yield here
        finally:
            for process in here.processes:
                process.close()
