"""`spillway drill` as its user runs it."""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import pytest

# Several processes that are judged by the clock: not two such tests at once.
pytestmark = pytest.mark.xdist_group("processes")

ENVIRON = {**os.environ, "PYTHONWARNINGS": "error"}


def drill(*args, **more):
    argv = [sys.executable, "-m", "spillway", "drill", *args]
    options = {"capture_output": True, "text": True, "timeout": 100, "check": False, "env": ENVIRON} | more
    return subprocess.run(argv, **options)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--scenario", "strickt"], 'Invalid value for --scenario: no scenario "strickt" (did you mean "strict"?)'),
        (["--nodes", "1"], "Invalid value for '--nodes': 1 is not in the range 2<=x<=32."),
        (["--duration", "nan"], "Invalid value for --duration: must be a number of seconds of at least 1"),
        (["--window-s", "0.5"], "Invalid value for --window-s: must be a number of seconds of at least 1"),
        (["--report", "no/where.html"], "Invalid value for --report: there is no folder no"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_line_and_exit_2(args, line, tmp_path):
    out = drill(*args, cwd=tmp_path)
    assert (out.returncode, out.stdout, out.stderr) == (2, "", f"error: {line} (see spillway drill --help)\n")


def test_without_a_redis_it_says_so_in_one_line(tmp_path):
    out = drill(env={**ENVIRON, "PATH": str(tmp_path)})
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr == "error: redis-server is missing: apt install redis-server, or wherever your system has it\n"


def test_without_an_extra_it_says_so_in_one_line():
    code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "granian" else found(name, *more)
sys.argv = ["spillway", "drill"]
from spillway.cli.main import main
main()
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (out.returncode, out.stdout) == (2, "")
    assert out.stderr == "error: granian is missing; the extra gateway brings it: pip install 'spillway[gateway]'\n"


@pytest.fixture
def short():
    """A folder with a path that has room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as path:
        yield pathlib.Path(path)


def folders(parent):
    return sorted(path.name for path in parent.iterdir() if path.name.startswith("spillway-drill-"))


def processes(folder):
    """Those whose working directory is within a folder."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                where = os.readlink(entry / "cwd")
                argv = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if where.startswith(str(folder)):
                found.append(argv)
    return found


@pytest.mark.timeout(120)
def test_a_scenario_from_plan_to_page(short):
    """The bounds in time are for a machine that does nothing else; what is told must fit together on any."""
    report = short / "drill.html"
    environ = {**ENVIRON, "TMPDIR": str(short)}
    out = drill("--scenario", "store-lost", "--nodes", "2", "--seed", "3", "--json", "--report", report, env=environ)
    found = json.loads(out.stdout)
    assert out.returncode == (0 if found["held"] else 1), out.stderr
    (one,) = found["scenarios"]
    assert (found["seed"], found["nodes"], one["name"]) == (3, 2, "store-lost")
    promises = {promise["name"]: promise for promise in one["promises"]}
    assert promises["requests that got one answer"]["held"], promises
    assert "store-lost: kill the store" in out.stderr
    assert "promises held, seed 3" in out.stderr.splitlines()[-1]
    assert "the sliding window of 2 s" in report.read_text()
    assert [path.name for path in short.iterdir()] == ["drill.html"]
    assert processes(short) == []


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=str
)
async def test_however_it_ends_nothing_is_left(number, code, short):
    process = subprocess.Popen(
        [sys.executable, "-m", "spillway", "drill", "--scenario", "approximate", "--nodes", "2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**ENVIRON, "TMPDIR": str(short)},
        start_new_session=True,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while sum(b"drill_node" in argv for argv in processes(short)) < 2:
            assert time.monotonic() < until and process.poll() is None
            await asyncio.sleep(0.02)
        assert len(folders(short)) == 1
        process.send_signal(number)
        assert await asyncio.to_thread(process.wait, 20) == code
        until = time.monotonic() + 10
        while processes(short) or folders(short):
            assert time.monotonic() < until, (processes(short), folders(short))
            await asyncio.sleep(0.02)
        said = process.stderr.read()
        assert "Traceback" not in said and "rror" not in said, said
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
