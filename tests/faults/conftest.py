"""Both event loops, for what depends on the transport's ways."""

import asyncio

import pytest
import uvloop


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """Run an async function on a loop of each kind, for at most 20 s."""

    def running(work):
        async def in_time():
            async with asyncio.timeout(20):
                await work()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(in_time())

    return running
