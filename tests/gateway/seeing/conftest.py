"""`gate(...)`: a gateway in this process before a simulator; `ask(...)`: one request through its ASGI door."""

import contextlib

import pytest
from through import Asked, Gate, ask

from spillway.sim import SimConfig, Simulator


@pytest.fixture
async def sim():
    async with Simulator(SimConfig(seed=7)) as simulator:
        yield simulator


@pytest.fixture
async def gate(sim):
    """Make a gateway before the simulator; it is closed after the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(**options):
            return await stack.enter_async_context(Gate(sim, **options))

        yield make


@pytest.fixture
async def slow_gate():
    """Make a gateway before a simulator whose chunks come 0.1 s apart."""
    async with Simulator(SimConfig(seed=7, chunk_delay_s=0.1)) as simulator, contextlib.AsyncExitStack() as stack:

        async def make(**options):
            return await stack.enter_async_context(Gate(simulator, **options))

        yield make


__all__ = ["Asked", "ask"]
