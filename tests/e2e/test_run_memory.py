"""Memory does not grow with the length of the input."""

import json
import pathlib

import pytest
from run_cli import world


def write(path, lines, length):
    with path.open("w") as file:
        for i in range(lines):
            file.write(json.dumps({"id": f"a{i}", "prompt": "x" * length, "max_tokens": 1}) + "\n")


async def peak_mib(here, *args, seconds=100):
    process = here.spawn(*args)
    most = 0
    status = pathlib.Path(f"/proc/{process.popen.pid}/status")
    while not await process.wait(0.1):
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                most = max(most, int(line.split()[1]) / 1024)
    ended = await process.end(seconds)
    return most, ended


async def test_an_input_many_times_larger_takes_hardly_more_memory(tmp_path):
    """The lines of the larger one are 40 MB, most of which would show."""
    async with world(tmp_path) as here:
        write(here.input, 500, 20_000)
        small, ended = await peak_mib(here)
        assert ended.code == 0, ended
        here.forget()
        write(here.input, 2000, 20_000)
        here.project(more="[deployment.serving]\nmax_concurrent = 16\nqueue_capacity = 100")
        large, ended = await peak_mib(here)
        assert ended.code == 0, ended
        assert large < small + 10, (small, large)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_million_lines_stay_under_200_mib(tmp_path):
    async with world(tmp_path) as here:
        write(here.input, 1_000_000, 20)
        most, ended = await peak_mib(here, seconds=3000)
        assert ended.code == 0, ended
        assert most < 200
        assert here.count() == 1_000_000
        most, ended = await peak_mib(here, "--resume", seconds=3000)
        assert ended.code == 0, ended
        assert most < 200
