"""Gateways of scripted deployments that share a store in plain Python, all in one loop in virtual time."""

import asyncio
from contextlib import AsyncExitStack

from operated import PRICE, Operated

import spillway
from spillway.core.clock import loop_clock
from spillway.gateway import create_app
from spillway.stores.commons import Commons
from spillway.testing import ScriptedRunner, run_virtual


class Fellow(Operated):
    """One gateway among several."""

    def __init__(self, runners, deployments, store, **options):
        self.runners = runners
        made = {name: (lambda _d, r=runner: r) for name, runner in runners.items()}
        self.cluster = spillway.Cluster(deployments, runners=made, environ={}, store=store)
        self.app = create_app(self.cluster, **options)

    async def metrics(self):
        """Rows of `/metrics` by name and labels."""
        answer = await self.get("/metrics")
        assert answer.status == 200, answer
        lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


class Stage:
    """Gateways by their place."""

    def __init__(self, stack, script, options):
        self.store = Commons(clock=loop_clock())
        self._stack = stack
        self._script = script
        self._options = {"pricing": PRICE, **options}
        self.gateways = []

    async def join(self):
        """Begin one more gateway."""
        runner = ScriptedRunner(self._script)
        one = Fellow({"m": runner}, [spillway.Deployment(name="m", **self._options)], self.store)
        await one.app.begin()
        self.gateways.append(one)
        self._stack.push_async_callback(one.app.aclose)
        return one


def play(test, count=3, script=("ok",), **options):
    """Run `await test(stage)` on so many gateways."""

    async def main():
        async with AsyncExitStack() as stack:
            stage = Stage(stack, script, options)
            for _ in range(count):
                await stage.join()
            await asyncio.sleep(2.0)
            return await test(stage)

    return run_virtual(main())
