"""A real Ray around every test; what Ray itself keeps open in this process is not counted as left over."""

import asyncio
import os
import pathlib
import sys
import warnings

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))

from ray_rig import QUIET, RayServer


def pytest_collection_modifyitems(items):
    here = pathlib.Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            # Ray's own modules, and sockets that it leaves to the interpreter's end.
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::FutureWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="session")
def ray_server():
    server = RayServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def ray(ray_server):
    """Ray, connected in this process."""
    from spillway.ray import connected

    os.environ.update(QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with connected(ray_server.address) as module:
            yield module


@pytest.fixture(autouse=True)
def nothing_left_over():
    """Sockets and threads are Ray's."""


@pytest.fixture(autouse=True)
async def no_task_left_over():
    before = asyncio.all_tasks()
    yield
    left = [t for t in asyncio.all_tasks() - before if not t.done() and t is not asyncio.current_task()]
    assert not left, f"tasks left running: {left}"


@pytest.fixture
async def here(tmp_path, ray_server):
    """A folder with a project file and an input, a simulator, and a Ray for `spillway run`."""
    from run_cli import world

    async with world(tmp_path, latency_s=0.02) as made:
        made.environ |= {"RAY_ADDRESS": ray_server.address, **QUIET, "PYTHONWARNINGS": "default"}
        yield made
