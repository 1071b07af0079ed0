"""The simulator as its users run it: a process on a port that it picks."""

import contextlib
import re
import signal
import subprocess
import sys

import pytest


@contextlib.contextmanager
def simulator(*options, cwd=None):
    """Run `spillway sim` and yield its root; it must end in order."""
    argv = [sys.executable, "-m", "spillway", "sim", "--port", "0", "--latency-s", "0", *map(str, options)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    try:
        line = process.stdout.readline()
        yield re.search(r"http://127\.0\.0\.1:\d+", line)[0]
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err.strip()) == (130, "")


@pytest.fixture(scope="session")
def sim():
    with simulator("--seed", 7, "--limit", "sk-three=3,-", "--limit", "sk-tokens=-,100,10") as url:
        yield url


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """`spillway ARGS` in this process and an empty folder; `(exit code, stdout, stderr)`."""
    from spillway.cli.main import main

    monkeypatch.chdir(tmp_path)
    for name in ("SPILLWAY_CONFIG", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run
