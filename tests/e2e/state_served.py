"""`spillway serve` as a process in a folder, with a state file, started as often as a test needs."""

import asyncio
import os
import signal
import socket
import sys

import aiohttp
from run_cli import Process

ADMIN = {"authorization": "Bearer admin-secret"}
CAP_USD = 0.02
PROJECT = """
[gateway]
bind = "127.0.0.1:{port}"
admin_key = {{ inline = "admin-secret" }}
[[gateway.keys]]
name = "a"
key = {{ inline = "key-a" }}
max_spend_per_day_usd = {key_cap}
[[gateway.keys]]
name = "b"
key = {{ inline = "key-b" }}
[[deployment]]
name = "m"
model = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{url}/v1"
api_key = {{ inline = "sk-sim" }}
[deployment.pricing]
input_per_mtok_usd = 0.15
output_per_mtok_usd = 0.6
[deployment.budget]
max_spend_per_hour_usd = {cap}
[deployment.retry]
max_retries = 0
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Served:
    """A gateway process in a folder, started as often as is needed."""

    def __init__(self, folder, url, **caps):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        caps = {"cap": CAP_USD, "key_cap": 100.0} | caps
        (folder / "spillway.toml").write_text(PROJECT.format(port=self.port, url=url, **caps))
        self.process = None
        self.spawned = []
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONWARNINGS": "error"}

    def spawn(self, *args):
        argv = [sys.executable, "-m", "spillway", *args]
        self.spawned.append(Process(argv, cwd=self.folder, env=self.environ))
        return self.spawned[-1]

    def close(self):
        for process in self.spawned:
            process.close()

    async def start(self, http, *args):
        self.process = self.spawn("serve", *args)
        for _ in range(1000):
            if self.process.over:
                raise AssertionError(await self.process.end())
            try:
                async with http.get(self.url + "/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)
        raise AssertionError("it does not serve")

    async def kill(self, number=signal.SIGKILL):
        self.process.kill(number)
        return await self.process.end()

    async def costs(self, http, by):
        async with http.get(f"{self.url}/admin/costs?by={by}", headers=ADMIN) as answer:
            return {row[by]: row for row in (await answer.json())["rows"]}
