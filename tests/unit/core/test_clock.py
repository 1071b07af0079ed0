"""The loop that runs, remembered."""

import asyncio
import threading

import pytest

from spillway.core.clock import LoopInSight


def test_it_is_the_loop_that_runs_wherever_it_is_asked():
    here = LoopInSight()
    with pytest.raises(RuntimeError):
        here()

    async def ask():
        assert here() is asyncio.get_running_loop()
        assert here() is asyncio.get_running_loop()

        def elsewhere():
            with pytest.raises(RuntimeError):
                here()
            asyncio.run(other())

        async def other():
            assert here() is asyncio.get_running_loop()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert here() is asyncio.get_running_loop()

    asyncio.run(ask())
    asyncio.run(ask())
    with pytest.raises(RuntimeError):
        here()
