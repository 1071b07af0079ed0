import aiohttp
import pytest
from simtools import CALLS, Asker

from spillway.sim import SimConfig, Simulator


@pytest.fixture
async def start():
    """Start simulators that close with the test; each comes with an asker."""
    opened = []

    async def begin(**settings):
        simulator = Simulator(SimConfig(**settings))
        await simulator.start()
        session = aiohttp.ClientSession()
        opened.append((simulator, session))
        return simulator, Asker(simulator, session)

    yield begin
    for simulator, session in opened:
        await session.close()
        await simulator.aclose()


@pytest.fixture(params=sorted(CALLS))
def dialect(request):
    return request.param
