"""A caller's own cap beside the deployment's budget: reserved once, told of each send, woken, given back."""

import asyncio

import pytest
from stage import Reply, broken, gathered, now, retry

import spillway
from spillway.core.request import GenerateRequest


class Gate:
    """A caller's own cap: so many at once, and it remembers everything."""

    def __init__(self, room=1):
        self.room = room
        self.log = []
        self.listeners = []

    def reserve(self, name, pico):
        if self.room == 0:
            return None
        self.room -= 1
        self.log.append("reserve")
        return Hold(self)

    def on_room(self, callback):
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)


class Hold:
    def __init__(self, gate):
        self.gate = gate

    def sending(self):
        self.gate.log.append("send")

    def settle(self, pico):
        self._end("settle")

    def release(self):
        self._end("release")

    def _end(self, how):
        self.gate.log.append(how)
        self.gate.room += 1
        for listener in tuple(self.gate.listeners):
            listener()


def submit(world, gate, **options):
    request = GenerateRequest(messages=({"role": "user", "content": "hi"},), idempotency_id="i")
    return world.cluster.submit("m", request, gate=gate, **options)


def test_a_callers_own_gate_pays_once_and_is_told_of_each_send(play):
    async def test(world):
        gate = Gate()
        await submit(world, gate)
        assert gate.log == ["reserve", "send", "send", "settle"]
        assert gate.listeners == []

    play(test, (broken(), "ok"), retry=retry())


def test_who_waits_at_a_gate_is_woken_when_it_has_room(play):
    async def test(world):
        gate = Gate()
        results = await gathered(*(submit(world, gate) for _ in range(5)))
        assert all(isinstance(r, spillway.Tokens) for r in results)
        assert now() == pytest.approx(1005.0)
        assert gate.room == 1

    play(test, (Reply(delay_s=1.0),))


def test_a_gate_gets_its_money_back_when_its_caller_leaves(play):
    async def test(world):
        gate = Gate()
        for after in (0.2, 1.2):  # in the backoff, in the second attempt
            task = asyncio.create_task(submit(world, gate))
            await asyncio.sleep(after)
            task.cancel()
            await gathered(task)
            assert gate.room == 1
            assert gate.listeners == []

    play(test, (broken(), Reply(delay_s=0.0, error=broken()), Reply(hang=True)), retry=retry())
