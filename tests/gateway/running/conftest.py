"""Makes the folder's own modules importable; processes that end with their test, and the simulator behind them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from running_rig import Serving, project

from spillway.sim import SimConfig, Simulator


@pytest.fixture
async def sim():
    """A simulator that answers at once."""
    async with Simulator(SimConfig()) as one:
        yield one


@pytest.fixture
async def slow_sim():
    """A simulator whose streams take some seconds."""
    async with Simulator(SimConfig(chunk_delay_s=0.15)) as one:
        yield one


@pytest.fixture
def serve(tmp_path):
    """`serve(text, *args, **environ)` begins a process; it is killed at the end if it still runs."""
    begun = []

    def begin(text=None, *args, **environ):
        begun.append(Serving(tmp_path, text, *args, **environ))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()


@pytest.fixture
def text_of():
    """Writes project files."""
    return project
