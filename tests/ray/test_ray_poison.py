"""A line that kills every worker that has it, as one that is too large for its memory does."""

import asyncio
import contextlib
import os
import pathlib
import signal

import pytest
from run_cli import config, prompts

pytestmark = pytest.mark.xdist_group("ray")

DEADLY = "deadly poison"


def process_at(port):
    """The process that has the local end of a connection to us."""
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, inode = line.split()[1], line.split()[9]
        if int(local.rpartition(":")[2], 16) == port:
            break
    for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == f"socket:[{inode}]":
                return int(link.parts[2])
    raise AssertionError(f"nobody has port {port}")


class Poisoned:
    """A relay to a server: it kills whoever sends something deadly."""

    def __init__(self, url):
        self._port = int(url.rpartition(":")[2])
        self._serving = set()
        self.killed = 0

    async def __aenter__(self):
        self._relay = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._relay.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *of):
        self._relay.close()
        for task in self._serving:
            task.cancel()
        await asyncio.wait(self._serving)

    async def _serve(self, reader, writer):
        self._serving.add(asyncio.current_task())
        there, upstream = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [
            asyncio.create_task(self._carry(reader, upstream, writer.get_extra_info("peername")[1])),
            asyncio.create_task(self._carry(there, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (upstream, writer):
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def _carry(self, reader, writer, port=None):
        while data := await reader.read(2**16):
            if DEADLY.encode() in data:
                self.killed += 1
                os.kill(process_at(port), signal.SIGKILL)
                return
            writer.write(data)
            await writer.drain()


async def test_it_is_refused_and_no_other_line_is(here):
    async with Poisoned(here.sim.url) as poisoned:
        here.project(config(poisoned.url, more="[deployment.serving]\nmax_concurrent = 4"))
        here.input.write_text(prompts(30) + f'{{"id": "deadly", "prompt": "{DEADLY}"}}\n' + prompts(30, 30))
        ended = await here.run("--ray", "--json")
    assert ended.code == 1, ended
    results = here.results()
    assert len(results) == 61
    error = results.pop("deadly")["error"]
    assert error["code"] == "bad_request" and "3 workers were lost with this request" in error["message"]
    assert poisoned.killed == 3
    assert all(result["error"] is None for result in results.values())
