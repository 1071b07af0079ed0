"""Cancelled, thrown at or dropped at every await: nothing is held afterwards, and the next request succeeds.

A scene puts a request somewhere: waiting for room, in the queue, in a backoff, in an attempt, in the middle of a
stream, in a rebuild. It is ended after the first, second, third, ... step of the loop, until it runs to its end.
"""

import asyncio

import pytest
from stage import NEVER_OPENS, Reply, World, broken, deployment, gathered, refused, retry

import spillway
from spillway import Budget, RateLimits, Serving, Usage
from spillway.core.request import GenerateRequest
from spillway.testing import ScriptedRunner, VirtualTimeLoop, run_virtual

MONEY = Budget(max_spend_per_hour_usd=1.0)
LIMITS = RateLimits(requests_per_minute=600, tokens_per_minute=200_000, concurrent_requests=2)
TIGHT = {"budget": MONEY, "rate_limits": LIMITS, "circuit_breaker": NEVER_OPENS, "retry": retry(max_retries=2)}


class Gate:
    """A caller's own cap of one reservation at a time."""

    def __init__(self):
        self.held = 0
        self.listeners = []

    def reserve(self, _name, _pico):
        if self.held:
            return None
        self.held += 1
        return Hold(self)

    def on_room(self, callback):
        self.listeners.append(callback)
        return lambda: self.listeners.remove(callback)


class Hold:
    def __init__(self, gate):
        self.gate = gate
        self.over = False

    def sending(self):
        pass

    def settle(self, _pico):
        assert not self.over, "settled twice"
        self.over = True
        self.gate.held -= 1

    def release(self):
        self.settle(0)


class Rebuilding(ScriptedRunner):
    """Refuses the first attempt's credential; the rebuild takes a while."""

    def __init__(self):
        super().__init__(self._reply, on_rebuild=self._rebuild)
        self.renewed = False

    def _reply(self, _batch):
        if self.renewed:
            return Reply(delay_s=1.0)
        return Reply(delay_s=0.5, error=spillway.Unauthorized("no", status=401))

    async def _rebuild(self, _cause):
        await asyncio.sleep(1.0)
        await asyncio.sleep(0)
        self.renewed = True


def ask(world, gate):
    return world.cluster.submit("m", request(), gate=gate)


def request(**options):
    options.setdefault("max_tokens", 10)
    return GenerateRequest(messages=({"role": "user", "content": "hi"},), idempotency_id="i", **options)


def read(world, _gate):
    async def whole():
        async for _chunk in world.stream(max_tokens=10):
            pass

    return whole()


def read_in_context(world, _gate):
    async def whole():
        async with world.stream(max_tokens=10) as stream:
            async for _chunk in stream:
                await asyncio.sleep(0.1)

    return whole()


def put_together(world, gate):
    return world.cluster.submit("m", request(), gate=gate, stream=True)


def map_some(world, _gate):
    async def whole():
        answers = world.cluster.map("m", ["a", "b", "c"], max_tokens=10)
        try:
            async for _pair in answers:
                pass
        finally:
            await answers.aclose()

    return whole()


STREAM = Reply(text="abcdef", chunks=3, delay_s=0.2, chunk_delay_s=0.2, send_delay_s=0.1)
SCENES = {
    "plain": {"script": (Reply(delay_s=0.5, send_delay_s=0.1),)},
    "room and queue": {
        "script": (Reply(delay_s=1.0),),
        "others": 2,
        "serving": Serving(max_concurrent=1, queue_capacity=1),
    },
    "queue": {"script": (Reply(delay_s=1.0),), "others": 2, "serving": Serving(max_concurrent=1)},
    "permit": {
        "script": (Reply(delay_s=0.5),),
        "others": 1,
        "rate_limits": RateLimits(requests_per_minute=60, burst_s=1.0),
    },
    "money": {
        "script": (Reply(delay_s=1.0, usage=Usage()),),
        "others": 1,
        "budget": Budget(max_spend_per_hour_usd=0.00007),
    },
    "backoff": {"script": (broken(), Reply(delay_s=0.2, error=broken()), STREAM)},
    "pause": {"script": (refused(2.0), STREAM)},
    "stream": {"script": (STREAM,)},
    "cut stream": {
        "script": (Reply(text="abc", chunks=3, chunk_delay_s=0.2, error=broken(), error_after=2),),
        "fails": True,
    },
    "drained stream": {"script": (STREAM,), "on_disconnect": "drain"},
    "rebuild": {"runner": Rebuilding},
    "rebuild without a permit": {"runner": Rebuilding, "rate_limits": RateLimits(requests_per_minute=60, burst_s=1.0)},
    "credential looked for again": {"runner": Rebuilding, "refused": True},
    "group and fallback": {"script": (Reply(delay_s=0.2, error=broken()),), "fallback": True},
    "deadline": {"script": (Reply(hang=True),), "total": 1.5, "fails": True},
}
DOORS = {"generate": ask, "stream": read, "context": read_in_context, "whole stream": put_together, "map": map_some}
MAX_STEPS = 400


class Scene:
    def __init__(
        self,
        *,
        script=("ok",),
        runner=None,
        others=0,
        fails=False,
        refused=False,
        fallback=False,
        total=None,
        **options,
    ):
        self.fails = fails
        self.refused = refused
        self.others = others
        timeouts = spillway.Timeouts(total_timeout_s=total or 1000.0)
        options = {**TIGHT, "timeouts": timeouts, "pricing": PRICES, **options}
        self.runner = (runner or (lambda: ScriptedRunner(script)))()
        runners = {"m": self.runner}
        deployments = [deployment("m", **options)]
        if fallback:
            deployments = [deployment("m", fallback=("g",), **options)]
            deployments += [deployment(name, group="g", **options) for name in ("a", "b")]
            runners |= {"a": ScriptedRunner(script), "b": ScriptedRunner((STREAM,))}
        self.world = World(runners, deployments)
        self.gate = Gate()

    async def begin(self):
        await self.world.cluster.start()
        tasks = [asyncio.create_task(self.world.ask(max_tokens=10)) for _ in range(self.others)]
        await asyncio.sleep(0)
        if self.refused:
            engine = self.world.cluster._room.router.engines["m"]
            engine.credential.note_refused(spillway.Unauthorized("no", status=401))
            await asyncio.sleep(1.5)
        return tasks

    async def end(self, others):
        """Nothing is held; what was there before goes on; the next request succeeds."""
        await gathered(*others)
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.sleep(2.0)  # a drained stream runs to its end
        self.world.holds_nothing()
        assert self.gate.held == 0
        assert self.gate.listeners == []
        for runner in self.world.runners.values():
            if not isinstance(runner, Rebuilding):
                runner._choose = lambda _batch: "ok"
        answer = await self.world.cluster.submit("m", request(max_tokens=1, timeout_s=300.0), gate=self.gate)
        assert answer.text == "ok"
        self.world.holds_nothing()
        await self.world.cluster.aclose()
        assert asyncio.all_tasks() == {asyncio.current_task()}


PRICES = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


class CountedLoop(VirtualTimeLoop):
    """Calls `interrupt` before the turn of the loop that `turns_left` says."""

    turns_left = None
    interrupt = None

    def _run_once(self):
        if self.turns_left is not None:
            if self.turns_left == 0:
                self.turns_left = None
                self.interrupt()
            else:
                self.turns_left -= 1
        super()._run_once()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("scene", SCENES)
def test_cancelled_after_any_number_of_steps(scene, door):
    async def once(steps):
        stage = Scene(**SCENES[scene])
        others = await stage.begin()
        task = asyncio.create_task(DOORS[door](stage.world, stage.gate))
        loop = asyncio.get_running_loop()
        through = True

        def interrupt():
            nonlocal through
            through = not task.cancel()

        loop.interrupt, loop.turns_left = interrupt, steps
        (result,) = await gathered(task)
        loop.turns_left = None
        if not through:
            assert isinstance(result, asyncio.CancelledError), result
        elif not stage.fails:
            assert not isinstance(result, BaseException), result
        await stage.end(others)
        return through

    for steps in range(MAX_STEPS):
        with asyncio.Runner(loop_factory=CountedLoop) as runner:
            if runner.run(once(steps)):
                assert steps > 1
                return
    raise AssertionError("it never came to its end")


class Thrown(BaseException):
    """What no part of the program expects, such as an interrupt of the process."""


class Stepped:
    """Drives a coroutine by hand, to throw at it where it waits for the nth time."""

    def __init__(self, coroutine, at, error):
        self.coroutine = coroutine
        self.left = at
        self.error = error

    def __await__(self):
        value, thrown = None, None
        while True:
            try:
                waiting = self.coroutine.throw(thrown) if thrown is not None else self.coroutine.send(value)
            except StopIteration as end:
                return end.value
            self.left -= 1
            if self.left < 0 and self.error is not None:
                error, self.error = self.error, None
                thrown = error
                if waiting is not None:
                    waiting._asyncio_future_blocking = False
                continue
            thrown = None
            try:
                value = yield waiting
            except BaseException as raised:
                thrown = raised


@pytest.mark.parametrize("door", ["generate", "stream", "whole stream"])
@pytest.mark.parametrize("scene", [name for name in SCENES if name != "deadline"])
@pytest.mark.parametrize("error", [Thrown, GeneratorExit, KeyboardInterrupt])
def test_thrown_at_wherever_it_waits(scene, door, error):
    async def once(at):
        stage = Scene(**SCENES[scene])
        others = await stage.begin()
        stepped = Stepped(DOORS[door](stage.world, stage.gate), at, error())
        caught = None
        try:
            await stepped
        except error as thrown:
            caught = thrown
        except spillway.InferenceError:
            assert stage.fails
        through = stepped.error is not None
        assert through == (caught is None)
        del stepped
        await stage.end(others)
        return through

    for at in range(MAX_STEPS):
        if run_virtual(once(at)):
            assert at > 0
            return
    raise AssertionError("it never came to its end")
