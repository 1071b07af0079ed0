"""Programs on a leash: nothing that a drill started outlives it."""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from spillway.drill.processes import DrillError, Folder, Program

SPEAKS = "import time; print('hello: there', flush=True); time.sleep(60)"
ENVIRON = {"PATH": os.environ["PATH"]}


@pytest.fixture
def program(tmp_path):
    made = []

    def make(code=SPEAKS, **more):
        made.append(Program("it", [sys.executable, "-c", code], tmp_path / "log", environ=ENVIRON, **more))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_it_says_what_it_has_to_and_ends_when_told(program):
    it = program()
    it.start()
    assert await it.says("hello: ", 20) == "there"
    assert it.running and it.code is None
    await it.stop()
    assert (it.running, it.code) == (False, -signal.SIGTERM)


async def test_a_paused_one_ends_too(program):
    it = program()
    it.start()
    await it.says("hello: ", 20)
    it.send(signal.SIGSTOP)
    await it.stop()
    assert not it.running


async def test_one_that_ends_at_its_start_is_an_error_with_its_last_words(program):
    it = program("import sys; print('one'); sys.exit('no such thing')")
    it.start()
    with pytest.raises(DrillError, match=r"it ended with 1 while it was starting: .*no such thing"):
        await it.says("hello: ", 20)


async def test_one_that_says_nothing_is_an_error(program):
    it = program("import time; time.sleep(60)")
    it.start()
    with pytest.raises(DrillError, match=r"it did not start within 0.2 s: it printed nothing"):
        await it.says("hello: ", 0.2)


async def test_a_second_start_hears_only_its_own_words(program):
    it = program()
    it.start()
    await it.says("hello: ", 20)
    it.kill()
    it.start()
    with pytest.raises(RuntimeError):
        it.start()
    await it.says("hello: ", 20)
    assert it.printed() == "hello: there\n"


DRILL = """
import asyncio, os, pathlib, signal, sys
from spillway.drill.processes import Folder, Program
async def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir()
    with Folder(folder):
        programs = [Program("it", [sys.executable, "-c", {code!r}], folder / f"log-{{i}}", environ=dict(os.environ)) for i in (0, 1)]
        for program in programs:
            program.start()
            await program.says("hello: ", 20)
        programs[1].send(signal.SIGSTOP)
        print(*(program._process.pid for program in programs), flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_killed_drill_leaves_neither_programs_nor_folder(tmp_path):
    folder = tmp_path / "all"
    drill = subprocess.Popen(
        [sys.executable, "-c", DRILL.format(code=SPEAKS), str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        pids = [int(pid) for pid in drill.stdout.readline().split()]
        assert len(pids) == 2 and all(map(alive, pids))
        drill.kill()
        drill.wait()
        until = time.monotonic() + 10
        while any(map(alive, pids)) or folder.exists():
            assert time.monotonic() < until, f"left: {[pid for pid in pids if alive(pid)]} {folder.exists()}"
            await asyncio.sleep(0.02)
    finally:
        drill.kill()
        drill.wait()
        drill.stdout.close()


def test_a_folder_is_gone_after_its_use(tmp_path):
    path = tmp_path / "x"
    path.mkdir()
    with Folder(path) as folder:
        (folder.path / "deep").mkdir()
        (folder.path / "deep" / "file").write_text("x")
    assert not path.exists()
