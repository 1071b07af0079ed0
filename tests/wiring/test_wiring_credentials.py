"""A refused credential: rebuilt once, tried once more, refused locally until its source has another."""

import asyncio

import pytest
from stage import NEVER_OPENS, Reply, deployment, ended, gathered, now, retry, text_of

import spillway
from spillway import RateLimits, Secret, Serving, Unauthorized
from spillway.remote.session import RemoteSessionActor, SessionConfig
from spillway.testing import ScriptedRunner


class Source:
    """A credential that can be changed, and that counts how often it is read."""

    place = "the vault"

    def __init__(self, value="one", delay_s=0.0):
        self.value = value
        self.delay_s = delay_s
        self.reads = []

    async def token(self):
        self.reads.append(now())
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return Secret(self.value)


class Client:
    """What a session builds; nothing is sent with it."""

    closed = False

    async def aclose(self):
        self.closed = True


class SessionRunner(ScriptedRunner):
    """A scripted runner with a real session: the provider takes `good` and refuses all else."""

    def __init__(self, source, good, script=("ok",)):
        super().__init__(script)
        self.source = source
        self.good = good
        self.session = None
        self.refusals = 0

    async def opened(self):
        if self.session is None:
            config = SessionConfig(provider="scripted", credentials=self.source, build_client=Client)
            self.session = await RemoteSessionActor.bootstrap(config)
        return self.session

    async def execute(self, batch):
        lease = (await self.opened()).snapshot.acquire()
        try:
            if lease.secret.reveal() != self.good:
                batch.on_sent()
                self.refusals += 1
                await asyncio.sleep(0.1)
                error = Unauthorized("invalid key", status=401)
                error.generation = lease.generation
                raise error
            return await super().execute(batch)
        finally:
            lease.release()

    async def rebuild_session(self, cause):
        session = await self.opened()
        await session.rebuild(cause, force=cause is None)

    async def aclose(self):
        if self.session is not None:
            await self.session.aclose()


def rotated(**options):
    """A runner whose session still holds the old key while the source has the new one."""
    source = Source("one", **options)
    return SessionRunner(source, "one"), source


async def rotate(world, runner):
    await world.ask()
    runner.source.value = runner.good = "two"


def test_a_thousand_refusals_are_one_rebuild_and_each_is_asked_once_more():
    from stage import perform

    runner, source = rotated(delay_s=0.5)

    async def test(world):
        await rotate(world, runner)
        reads = len(source.reads)
        answers = await world.all(1000)
        assert all(isinstance(a, spillway.Tokens) for a in answers)
        assert {a.attempts for a in answers} == {2}
        assert len(source.reads) - reads == 1
        assert runner.session.generation == 2
        assert runner.refusals == 1000
        assert world.metrics().retried == 0
        assert world.cluster._room.router.engines["m"].gates.quota.tokens == 500
        assert world.cluster.deployment("m").circuit_breaker().snapshot().failures == 0
        assert world.cluster.deployment("m").healthy()

    perform(test, scripts={"m": runner}, serving=Serving(max_concurrent=1000))


def test_the_second_attempt_keeps_its_slot(play):
    runner, _ = rotated(delay_s=0.5)

    async def test(world):
        await rotate(world, runner)
        first = asyncio.create_task(world.ask(prompt="first"))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(world.ask(prompt="second"))
        await gathered(first, second)
        assert [c.batch.request.messages[0]["content"] for c in runner.calls] == ["hi", "first", "second"]

    play(test, scripts={"m": runner}, serving=Serving(max_concurrent=1))


def test_a_second_attempt_without_a_permit_waits_for_it(play):
    """A burst of refusals used the permits up, and their second attempts failed although the new key was good."""
    runner, _ = rotated()

    async def test(world):
        await rotate(world, runner)
        answers = await world.all(10, timeout_s=1000.0)
        assert all(isinstance(a, spillway.Tokens) for a in answers)
        assert {a.attempts for a in answers} == {2}

    play(test, scripts={"m": runner}, rate_limits=RateLimits(requests_per_minute=11), circuit_breaker=NEVER_OPENS)


@pytest.mark.error("unauthorized_upstream")
def test_the_same_secret_again_is_refused_locally_until_it_changes(play):
    source = Source("bad")
    runner = SessionRunner(source, "good")

    async def test(world):
        dep = world.cluster.deployment("m")
        error, _ = await ended(world.ask())
        assert isinstance(error, Unauthorized)
        assert (error.status, error.attempts, error.limited_by) == (401, 1, "provider")
        assert not dep.healthy()
        for _ in range(100):
            error, took = await ended(world.ask())
            assert isinstance(error, Unauthorized)
            assert (error.reason, error.attempts, took) == ("same_credential", 0, 0.0)
        assert runner.refusals == 1
        assert len(source.reads) == 2  # at its start and for the refusal
        source.value = "good"
        error, _ = await ended(world.ask())
        assert isinstance(error, Unauthorized)  # within the second it is not read again
        await asyncio.sleep(1.0)
        assert (await world.ask()).text == "ok"
        assert dep.healthy()

    play(test, scripts={"m": runner})


def test_the_source_is_read_at_most_once_a_second(play):
    source = Source("bad")

    async def test(world):
        for _ in range(1000):
            await ended(world.ask())
            await asyncio.sleep(0.01)
        gaps = [b - a for a, b in zip(source.reads[1:], source.reads[2:], strict=False)]
        assert len(source.reads) <= 13
        assert min(gaps) >= 1.0 - 1e-6

    play(test, scripts={"m": SessionRunner(source, "good")})


def test_those_who_wait_are_not_sent_with_a_key_that_is_known_to_be_bad(play):
    """Everything in the queue was still sent, one refusal each."""
    runner = SessionRunner(Source("bad"), "good")

    async def test(world):
        results = await world.all(50)
        assert all(isinstance(r, Unauthorized) for r in results)
        assert runner.refusals == 1
        assert sum(r.attempts for r in results) == 1

    play(test, scripts={"m": runner}, serving=Serving(max_concurrent=1))


def test_a_refused_key_falls_back(play):
    runner = SessionRunner(Source("bad"), "good")

    async def test(world):
        for _ in range(3):
            assert (await world.ask("a")).deployment == "b"
        assert runner.refusals == 1

    play(
        test,
        deployments=[deployment("a", fallback=("b",)), deployment("b")],
        scripts={"a": runner, "b": ScriptedRunner()},
    )


def test_a_stream_is_begun_again_with_the_new_key(play):
    runner, _ = rotated()

    async def test(world):
        await rotate(world, runner)
        stream = world.stream()
        assert await text_of(stream) == "ok"
        assert stream.tokens.attempts == 2

    play(test, scripts={"m": runner})


def test_a_second_refusal_of_a_new_key_is_final(play):
    class Turning(Source):
        async def token(self):
            self.value = f"key {len(self.reads)}"
            return await super().token()

    source = Turning()
    runner = SessionRunner(source, "good")

    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, Unauthorized)
        assert (error.attempts, runner.refusals) == (2, 2)
        assert len(source.reads) == 2

    play(test, scripts={"m": runner}, retry=retry())


def test_a_second_refusal_after_a_wait_for_the_permit_is_final_too(play):
    class Turning(Source):
        async def token(self):
            self.value = f"key {len(self.reads)}"
            return await super().token()

    runner = SessionRunner(Turning(), "good")

    async def test(world):
        error, _ = await ended(world.ask())
        assert isinstance(error, Unauthorized)
        assert (error.attempts, runner.refusals) == (2, 2)

    play(test, scripts={"m": runner}, rate_limits=RateLimits(requests_per_minute=1))


def test_the_money_of_a_refused_attempt_pays_for_the_next(play):
    runner, _ = rotated()

    async def test(world):
        await rotate(world, runner)
        answer = await world.ask(max_tokens=5)
        assert answer.attempts == 2
        ledger = world.cluster.deployment("m").budget().snapshot()
        assert (ledger.requests, ledger.open) == (2, 0)

    play(test, scripts={"m": runner}, budget=spillway.Budget(max_spend_per_hour_usd=1.0))


def test_a_deadline_during_the_rebuild_is_kept(play):
    runner, source = rotated()

    async def test(world):
        await rotate(world, runner)
        source.delay_s = 100.0
        error, took = await ended(world.ask(timeout_s=5.0))
        assert isinstance(error, spillway.Timeout)
        assert took == pytest.approx(5.0)
        assert isinstance(error.__cause__, Unauthorized) or error.history[0][1] == "unauthorized_upstream"
        await asyncio.sleep(200.0)
        assert (await world.ask()).text == "ok"

    play(test, scripts={"m": runner})


def test_a_rebuild_may_take_longer_than_an_attempt(play):
    """The attempt's own limit went on while the session was rebuilt, and ended the request."""
    runner, source = rotated()

    async def test(world):
        await rotate(world, runner)
        source.delay_s = 20.0
        assert (await world.ask(timeout_s=100.0)).attempts == 2

    play(test, scripts={"m": runner}, timeouts=spillway.Timeouts(unary_timeout_s=5.0))


def test_a_deadline_while_a_refused_key_is_looked_for_again_is_kept(play):
    """Nothing guarded that wait: a source that hung held its caller for as long."""
    source = Source("bad")

    async def test(world):
        await ended(world.ask())
        source.delay_s = 100.0
        await asyncio.sleep(2.0)
        error, took = await ended(world.ask(timeout_s=5.0))
        assert isinstance(error, spillway.Timeout)
        assert took == pytest.approx(5.0)
        assert error.attempts == 0
        await asyncio.sleep(200.0)

    play(test, scripts={"m": SessionRunner(source, "good")})


def test_an_operator_rebuilds_and_what_is_in_flight_goes_on(play):
    source = Source("one")
    runner = SessionRunner(source, "one", (Reply(delay_s=5.0),))

    async def test(world):
        task = asyncio.create_task(world.ask())
        await asyncio.sleep(1.0)
        source.value = runner.good = "two"
        await world.cluster.deployment("m").rebuild_session()
        assert runner.session.generation == 2
        assert (await task).attempts == 1
        assert (await world.ask()).attempts == 1

    play(test, scripts={"m": runner})


def test_a_source_that_yields_nothing_at_first_is_asked_again(play):
    """A deployment whose key was not there at its first use never recovered, and read its source for every request."""

    class Late(Source):
        async def token(self):
            secret = await super().token()
            if self.value == "missing":
                raise spillway.ConfigError("the vault is empty")
            return secret

    source = Late("missing")

    class Wired(SessionRunner):
        async def opened(self):
            try:
                return await super().opened()
            except spillway.ConfigError as error:
                raise Unauthorized(str(error), reason="rebuild_failed") from error

    runner = Wired(source, "good")

    async def test(world):
        for _ in range(50):
            error, _ = await ended(world.ask())
            assert isinstance(error, Unauthorized)
        assert len(source.reads) == 1
        source.value = "good"
        await asyncio.sleep(1.0)
        assert (await world.ask()).text == "ok"

    play(test, scripts={"m": runner})
