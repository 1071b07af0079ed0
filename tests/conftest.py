"""What holds around every test: nothing is left over."""

import asyncio
import gc
import os
import threading

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
    left = [t for t in asyncio.all_tasks() - before if not t.done() and t is not asyncio.current_task()]
    assert not left, f"tasks left running: {left}"
