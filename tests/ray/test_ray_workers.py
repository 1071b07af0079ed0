"""Workers that die, and what they are told."""

import asyncio
import os
import pathlib
import signal

import pytest
from ray_rig import processes_of
from run_cli import prompts

pytestmark = pytest.mark.xdist_group("ray")


async def workers_of(server, count, process):
    while len(found := processes_of(server, "LineWorker")) < count:
        assert not process.over
        await asyncio.sleep(0.02)
    return found


async def test_a_killed_worker_loses_nothing_and_doubles_nothing(here, ray_server):
    here.project(more="[deployment.serving]\nmax_concurrent = 4")
    here.input.write_text(prompts(400))
    process = here.spawn("--ray", "--json")
    for lines in (50, 150):
        await here.written(lines, process)
        pid = (await workers_of(ray_server, 2, process))[0]
        os.kill(pid, signal.SIGKILL)
    ended = await process.end()
    assert ended.code == 0, ended
    assert sorted(here.results()) == sorted(f"a{i}" for i in range(400))
    assert 400 <= here.sim.stats()["asked"] <= 400 + 2 * 4 * 4
    assert "a worker is lost" in ended.err


async def test_secrets_are_not_in_the_environment_or_the_command_line_of_a_worker(here, ray_server):
    here.input.write_text(prompts(300))
    process = here.spawn("--ray", "--concurrency", 4, OPENAI_API_KEY="sk-canary-2718")
    await here.written(5, process)
    pids = await workers_of(ray_server, 1, process)
    seen = b""
    for pid in pids:
        for what in ("environ", "cmdline"):
            with open(f"/proc/{pid}/{what}", "rb") as file:
                seen += file.read()
    process.kill(signal.SIGTERM)
    ended = await process.end()
    assert ended.code == 143, ended
    assert pids
    assert b"PATH=" in seen
    assert b"sk-canary-2718" not in seen
    assert here.sim.stats()["by_key"].keys() == {"sk-canary-2718"}
    for folder, _, files in os.walk(ray_server.folder.name):
        for name in files:
            path = pathlib.Path(folder, name)
            assert not path.is_file() or b"sk-canary-2718" not in path.read_bytes(), name
