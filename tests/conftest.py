"""What holds around every test: nothing is left over."""

import asyncio
import gc
import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest


def _sockets():
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@pytest.fixture(autouse=True)
def nothing_left_over():
    """Fail a test that leaves a socket or a thread behind."""
    sockets, threads = _sockets(), set(threading.enumerate())
    yield
    left = _sockets() - sockets
    if left:
        gc.collect()
        left = _sockets() - sockets
    assert not left, f"{len(left)} sockets left open"
    started = {t for t in threading.enumerate() if t not in threads and t.is_alive()}
    started = {t for t in started if not t.name.startswith(("asyncio_", "ThreadPool", "execnet"))}
    for thread in started:
        thread.join(5.0)
    stray = [t.name for t in started if t.is_alive()]
    assert not stray, f"threads left running: {stray}"


@pytest.fixture(autouse=True)
async def no_task_left_over():
    """Fail a test that leaves a task running on its own event loop."""
    before = asyncio.all_tasks()
    yield
    started = asyncio.all_tasks() - before - {asyncio.current_task()}
    if ending := {t for t in started if t.cancelling()}:
        # As that of a library which carried a body that nobody wants any more: it has yet to hear of it.
        await asyncio.wait(ending, timeout=1.0)
    left = [t for t in started if not t.done()]
    assert not left, f"tasks left running: {left}"


class RedisServer:
    """A Redis of the test's own; it keeps nothing on disk.

    Attributes:
        port: the same one over all its lives.
    """

    def __init__(self, directory):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._directory = directory
        self._process = None
        self._names = itertools.count(1)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def name(self):
        """Return the name of a cluster that nobody else has."""
        return f"test-{next(self._names)}"

    def start(self):
        """Begin a life with nothing in it, and return once it answers."""
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self._directory}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        log = pathlib.Path(self._directory, "redis.log").open("ab")
        with log:
            self._started = time.monotonic()
            self._process = subprocess.Popen([shutil.which("redis-server"), *words], stdout=log, stderr=log)
        deadline = time.monotonic() + 20.0
        while not self._answers():
            assert self._process.poll() is None, pathlib.Path(self._directory, "redis.log").read_text()
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def up_for(self, seconds):
        """Return once this life has lasted so long."""
        time.sleep(max(0.0, self._started + seconds - time.monotonic()))

    def kill(self):
        """End its life with all it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self):
        """Let it answer nobody, while connections stay."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """End the pause."""
        self._process.send_signal(signal.SIGCONT)

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as conn:
                conn.sendall(b"PING\r\n")
                return conn.recv(7) == b"+PONG\r\n"
        except OSError:
            return False


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_server(tmp_path):
    """A Redis for one test alone, which may kill it."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
