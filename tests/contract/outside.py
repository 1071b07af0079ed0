"""Spillway as its users run it."""

import contextlib
import re
import signal
import subprocess
import sys


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
