"""Alarms: each is due when it was asked for, what is called off is not, and nothing is kept of either."""

import asyncio
import gc
import weakref

import pytest

from spillway.core.alarms import Alarms
from spillway.testing.clock import VirtualTimeLoop


def play(test):
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        runner.run(test(loop, Alarms(loop, 0.25)))


@pytest.mark.parametrize("after", [0.0, 0.001, 0.2, 0.25, 0.3, 0.5, 1.0, 59.99, 600.0])
def test_due_when_it_was_asked_for(after):
    async def test(loop, alarms):
        await asyncio.sleep(0.1)
        at = loop.time() + after
        rung = loop.create_future()
        alarms.call_at(at, lambda: rung.set_result(loop.time()))
        assert await rung == at
        assert repr(alarms) == "<Alarms 0 in 0 spans>"

    play(test)


def test_many_are_due_in_order():
    async def test(loop, alarms):
        rung = []
        began = loop.time()
        for after in (3.0, 0.1, 0.26, 1.0, 0.27, 2.99, 3.01, 1.0):
            alarms.call_at(began + after, lambda after=after: rung.append((after, loop.time() - began)))
        await asyncio.sleep(5.0)
        assert [after for after, _ in rung] == [0.1, 0.26, 0.27, 1.0, 1.0, 2.99, 3.0, 3.01]
        assert all(at == pytest.approx(after) for after, at in rung)

    play(test)


def test_what_is_called_off_is_not_called_and_may_be_called_off_again():
    async def test(loop, alarms):
        rung = []
        asked = [alarms.call_at(loop.time() + after, lambda: rung.append(1)) for after in (0.1, 0.4, 2.0, 60.0)]
        for alarm in asked:
            alarm.cancel()
            alarm.cancel()
        late = alarms.call_at(loop.time() + 1.0, lambda: rung.append(1))
        await asyncio.sleep(0.9)
        late.cancel()
        late.cancel()
        await asyncio.sleep(100.0)
        assert rung == []
        assert repr(alarms) == "<Alarms 0 in 0 spans>"

    play(test)


def test_one_that_comes_later_may_be_due_sooner():
    async def test(loop, alarms):
        rung = []
        alarms.call_at(loop.time() + 60.0, lambda: rung.append("late"))
        alarms.call_at(loop.time() + 1.0, lambda: rung.append("soon"))
        await asyncio.sleep(1.5)
        assert rung == ["soon"]
        await asyncio.sleep(60.0)
        assert rung == ["soon", "late"]

    play(test)


def test_nothing_is_kept_of_one_that_was_called_off():
    class Holder:
        def ring(self):
            raise AssertionError

    async def test(loop, alarms):
        holder = Holder()
        holder.alarm = alarms.call_at(loop.time() + 60.0, holder.ring)
        gone = weakref.ref(holder)
        gc.collect()
        gc.disable()
        try:
            holder.alarm.cancel()
            del holder
            assert gone() is None
        finally:
            gc.enable()

    play(test)
