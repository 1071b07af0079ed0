"""Whose time a loop's clock tells."""

import asyncio
import time

import pytest
import uvloop

from spillway.core.clock import clock_of, loop_clock
from spillway.testing import run_virtual


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_real_loops_tell_the_machines_time(make):
    loop = make()
    try:

        async def apart():
            assert clock_of(loop) is loop_clock() is time.monotonic
            await asyncio.sleep(0)
            return abs(loop.time() - time.monotonic())

        # What a timer of the loop counts from must be the same zero.
        assert loop.run_until_complete(apart()) < 0.5
    finally:
        loop.close()


def test_a_virtual_loop_tells_its_own():
    async def hours():
        clock = loop_clock()
        assert clock is not time.monotonic
        began = clock()
        await asyncio.sleep(7200.0)
        return clock() - began

    assert run_virtual(hours()) == pytest.approx(7200.0)


def test_a_clock_is_finer_than_a_round_of_callbacks():
    """Under uvloop the loop's own time stands still in one."""

    async def within():
        clock = loop_clock()
        began = clock()
        while time.monotonic() - began < 0.0003:
            pass
        return clock() - began

    loop = uvloop.new_event_loop()
    try:
        assert 0.0003 <= loop.run_until_complete(within()) < 0.5
    finally:
        loop.close()
