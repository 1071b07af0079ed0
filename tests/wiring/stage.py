"""A cluster of scripted deployments in virtual time, and what must hold when it is over."""

import asyncio

import spillway
from spillway.testing import Reply, ScriptedRunner, run_virtual

PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)
NO_JITTER = {"jitter": "none", "initial_backoff_s": 1.0, "backoff_multiplier": 2.0, "max_backoff_s": 60.0}
NEVER_OPENS = spillway.CircuitBreakerConfig(failure_threshold=10**6, minimum_calls=10**6)


def deployment(name="m", **options):
    """A deployment with a price, so that no price list is read."""
    options.setdefault("pricing", PRICE)
    return spillway.Deployment(name=name, **options)


def retry(**options):
    """A retry policy without chance."""
    return spillway.RetryPolicy(**{**NO_JITTER, **options})


def refused(retry_after=None, **more):
    """What a provider's 429 becomes."""
    return spillway.RateLimited("slow down", status=429, retry_after=retry_after, limited_by="provider", **more)


def broken(status=503, retry_after=None):
    """What a provider's 5xx becomes."""
    return spillway.ServerError("down", status=status, retry_after=retry_after)


def now():
    return asyncio.get_running_loop().time()


async def gathered(*coroutines):
    """The results or exceptions of all, run at once."""
    return await asyncio.gather(*coroutines, return_exceptions=True)


async def ended(coroutine):
    """`(result or exception, seconds it took)`."""
    began = now()
    try:
        result = await coroutine
    except spillway.InferenceError as error:
        result = error
    return result, now() - began


async def text_of(stream):
    return "".join([chunk.text_delta async for chunk in stream])


class Watcher:
    """An observer that keeps all it is told."""

    def __init__(self):
        self.attempts = []
        self.requests = []

    def on_attempt(self, record):
        self.attempts.append(record)

    def on_request(self, record):
        self.requests.append(record)


class World:
    """One cluster and the runners behind it."""

    def __init__(self, runners, deployments, *, observers=(), **options):
        self.runners = runners
        self.seen = Watcher()
        self.cluster = spillway.Cluster(
            deployments,
            runners={name: (lambda _d, r=runner: r) for name, runner in runners.items()},
            environ={},
            observers=[self.seen, *observers],
            **options,
        )

    def __getitem__(self, name):
        return self.runners[name]

    @property
    def calls(self):
        """The attempts that the only runner saw."""
        (runner,) = self.runners.values()
        return runner.calls

    def ask(self, name="m", prompt="hi", **options):
        return self.cluster.generate(name, prompt, **options)

    def stream(self, name="m", prompt="hi", **options):
        return self.cluster.stream(name, prompt, **options)

    def all(self, count, name="m", **options):
        """`count` requests at once; their results or exceptions."""
        return gathered(*(self.ask(name, **options) for _ in range(count)))

    def metrics(self, name="m"):
        return self.cluster.metrics().per_deployment[name]

    def holds_nothing(self):
        """Nothing in flight, nothing reserved, nothing waiting; every admission and request has one end."""
        router = self.cluster._room.router
        if router is None:
            return
        accepted = over = 0
        for name, engine in router.engines.items():
            assert engine.busy == 0, engine
            assert all(not slot.busy for slot in engine.slots())
            assert len(engine.queue) == 0, engine
            assert not engine._room, engine._room
            limits = engine.gates.limiter.snapshot()
            assert limits.in_flight == 0
            assert limits.waiting == 0
            for kind in ("requests", "tokens", "input_tokens", "output_tokens"):
                one = getattr(limits, kind)
                assert one is None or one.unsent == 0, (kind, one)
            breaker = engine.gates.breaker.snapshot()
            assert breaker.probes == 0
            # A stream that broke after its success counts twice.
            assert breaker.admitted <= breaker.successes + breaker.failures + breaker.released + breaker.late
            ledger = engine.gates.ledger
            assert ledger is None or (ledger.snapshot().reserved_pico, ledger.snapshot().open) == (0, 0), ledger
            runner = self.runners.get(name)
            assert getattr(runner, "open", 0) == 0, runner
            accepted += engine.metrics.accepted
            over += engine.metrics.succeeded + engine.metrics.failed + engine.metrics.cancelled
        assert accepted == over == len(self.seen.requests)
        assert sum(engine.metrics.attempts for engine in router.engines.values()) == len(self.seen.attempts)


def perform(test, script=("ok",), *, deployments=None, scripts=None, cluster=None, **options):
    """Run `await test(world)` in virtual time on one deployment `m`, or on several, and check what is left."""
    if deployments is None:
        deployments = [deployment(**options)]
    scripts = scripts or {d.name: script for d in deployments}

    async def main():
        runners = {
            name: ScriptedRunner(one) if callable(one) or isinstance(one, (list, tuple)) else one
            for name, one in scripts.items()
        }
        world = World(runners, deployments, **(cluster or {}))
        try:
            await world.cluster.start()
            result = await test(world)
            for _ in range(3):
                await asyncio.sleep(0)
            world.holds_nothing()
            return result
        finally:
            await world.cluster.aclose()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

    return run_virtual(main())


__all__ = [
    "NEVER_OPENS",
    "PRICE",
    "Reply",
    "Watcher",
    "World",
    "broken",
    "deployment",
    "ended",
    "gathered",
    "now",
    "perform",
    "refused",
    "retry",
    "text_of",
]
