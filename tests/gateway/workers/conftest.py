"""Makes the folder's own modules importable, and those of the folders whose stages are used here."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "admin"))
sys.path.insert(0, str(Path(__file__).parent.parent / "running"))
sys.path.insert(0, str(Path(__file__).parent))

import pytest
from running_rig import Serving

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
def serve(tmp_path, shared_redis):
    """`serve(text, *args)` begins a process whose cluster is its own; it is killed at the end if it still runs."""
    begun = []
    head = f'[cluster]\nname = "{shared_redis.name()}"\nstore = "{shared_redis.url}"\n'

    def begin(text=None, *args, **environ):
        begun.append(Serving(tmp_path, None if text is None else head + text, *args, **environ))
        return begun[-1]

    yield begin
    for one in begun:
        one.close()
