"""One rebuild for all who were refused, one generation for each request, no client closed under anybody."""

import asyncio
import pickle

import pytest

from spillway.core.actor import ActorSystem
from spillway.core.errors import ConfigError, NetworkError, Unauthorized
from spillway.core.secrets import Secret
from spillway.remote.session import RemoteSessionActor, SessionConfig, SessionRebuildRequest, StaticApiKey
from spillway.testing import run_virtual


class Client:
    def __init__(self):
        self.closed = 0

    async def send(self, request):
        raise AssertionError("nobody sends here")

    async def aclose(self):
        self.closed += 1


class Source:
    """Yields the values it is given, the last one again and again; an exception is raised."""

    place = "file /etc/key"

    def __init__(self, *values, takes_s=0.0):
        self.values = list(values)
        self.takes_s = takes_s
        self.reads = 0

    async def token(self):
        self.reads += 1
        await asyncio.sleep(self.takes_s)
        value = self.values[min(self.reads, len(self.values)) - 1]
        if isinstance(value, Exception):
            raise value
        return Secret(value)


async def session_of(source, **options):
    clients = []

    def build_client():
        clients.append(Client())
        return clients[-1]

    config = SessionConfig(
        provider="openai", deployment="fast", credentials=source, build_client=build_client, **options
    )
    session = await RemoteSessionActor.bootstrap(config)
    return session, clients


def refused(generation):
    error = Unauthorized("401")
    error.generation = generation
    return error


def virtual(test):
    def run(*args, **kwargs):
        run_virtual(test(*args, **kwargs))

    run.__name__ = test.__name__
    return run


@virtual
async def test_a_thousand_refusals_of_one_generation_make_one_rebuild():
    source = Source("a", "b", takes_s=0.5)
    session, clients = await session_of(source)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(session.rebuild(refused(1), 1)) for _ in range(1000)]
    snapshots = {task.result() for task in tasks}
    assert [(s.generation, s.secret.reveal()) for s in snapshots] == [(2, "b")]
    assert source.reads == 2
    assert [c.closed for c in clients] == [1, 0]
    assert repr(session) == "<RemoteSessionActor openai open <SessionSnapshot 2 current in flight 0> retired 0>"
    await session.aclose()


@virtual
async def test_a_late_refusal_of_an_old_generation_gets_the_present_one():
    source = Source("a", "b")
    session, _ = await session_of(source)
    await session.rebuild(refused(1))
    for _ in range(3):
        assert (await session.rebuild(refused(1))).generation == 2
    assert source.reads == 2
    await session.aclose()


@virtual
async def test_the_same_credential_grants_nothing_and_is_read_again_once_a_second():
    loop = asyncio.get_running_loop()
    source = Source("a", "a", "a", "b")
    session, clients = await session_of(source)
    assert not session.refused
    reads = []
    began = loop.time()
    while loop.time() < began + 2.95:
        with pytest.raises(Unauthorized) as caught:
            if loop.time() > began + 1.9 and source.reads == 3:
                source.values = ["a"]
            await session.rebuild(refused(1), 1)
        assert (caught.value.reason, caught.value.provider, caught.value.deployment) == (
            "same_credential",
            "openai",
            "fast",
        )
        assert "file /etc/key" in str(caught.value)
        assert session.refused
        reads.append(source.reads)
        await asyncio.sleep(0.1)
    assert reads[0] == 2 and source.reads == 4
    assert len(clients) == 1 and not clients[0].closed
    source.values = ["c"]
    await asyncio.sleep(1)
    assert (await session.rebuild(refused(1), 1)).secret.reveal() == "c"
    assert not session.refused
    await session.aclose()


@virtual
async def test_a_second_refusal_right_after_a_rebuild_reads_nothing():
    source = Source("a", "b", "c")
    session, _ = await session_of(source)
    await session.rebuild(refused(1))
    with pytest.raises(Unauthorized) as caught:
        await session.rebuild(refused(2))
    assert caught.value.reason == "same_credential"
    assert (source.reads, session.refused) == (2, True)
    await asyncio.sleep(1)
    assert (await session.rebuild(refused(2))).generation == 3
    assert not session.refused
    await session.aclose()


@virtual
async def test_each_caller_gets_an_error_of_its_own_with_its_own_cause():
    session, _ = await session_of(Source("a", takes_s=0.1))
    causes = [refused(1) for _ in range(5)]
    errors = await asyncio.gather(*(session.rebuild(c) for c in causes), return_exceptions=True)
    assert len({id(e) for e in errors}) == 5
    assert [e.__cause__ for e in errors] == causes
    await session.aclose()


@pytest.mark.parametrize(
    ("failure", "told"),
    [(ConfigError("file /etc/key is empty"), "file /etc/key is empty"), (ValueError("hunter2"), "ValueError")],
)
def test_a_failed_rebuild_keeps_the_session(failure, told):
    async def main():
        session, clients = await session_of(Source("a", failure, "b"))
        before = session.snapshot
        with pytest.raises(Unauthorized) as caught:
            await session.rebuild(refused(1))
        assert caught.value.reason == "rebuild_failed"
        assert told in str(caught.value) and "hunter2" not in f"{caught.value!r} {vars(caught.value)}"
        assert session.snapshot is before and session.refused and not clients[0].closed
        await asyncio.sleep(1)
        assert (await session.rebuild(refused(1))).generation == 2
        await session.aclose()

    run_virtual(main())


@virtual
async def test_a_client_that_can_not_be_built_keeps_the_session():
    session, clients = await session_of(Source("a", "b", "b"))
    build, boom = session._config.build_client, [True]

    def flaky():
        if boom.pop():
            boom.append(False)
            raise OSError("no")
        boom.append(False)
        return build()

    session._config = SessionConfig(provider="openai", credentials=session._config.credentials, build_client=flaky)
    with pytest.raises(Unauthorized, match="OSError"):
        await session.rebuild(None)
    assert session.generation == 1
    assert (await session.rebuild(None, force=True)).generation == 2
    await session.aclose()
    assert [c.closed for c in clients] == [1, 1]


@virtual
async def test_an_operators_rebuild_is_always_one():
    source = Source("a")
    session, clients = await session_of(source)
    with pytest.raises(Unauthorized):
        await session.rebuild(refused(1))
    for generation in (2, 3):
        assert (await session.rebuild(force=True)).generation == generation
        assert not session.refused
    assert [c.closed for c in clients] == [1, 1, 0]
    await session.aclose()


@virtual
async def test_an_operators_rebuild_does_not_settle_for_a_refused_callers():
    source = Source("a", takes_s=0.1)
    session, clients = await session_of(source)
    automatic = asyncio.ensure_future(session.rebuild(refused(1)))
    await asyncio.sleep(0.05)
    assert (await session.rebuild(force=True)).generation == 2
    with pytest.raises(Unauthorized):
        await automatic
    assert source.reads == 3
    await session.aclose()


@virtual
async def test_what_is_in_flight_keeps_its_client_until_the_last_of_it_ends():
    session, clients = await session_of(Source("a", "b", "c"))
    streams = [session.snapshot.acquire() for _ in range(20)]
    await session.rebuild(refused(1))
    short = session.snapshot.acquire()
    assert short.generation == 2
    for stream in streams[:-1]:
        stream.release()
    await asyncio.sleep(60)
    assert [c.closed for c in clients] == [0, 0]
    assert (streams[-1].secret.reveal(), streams[-1].client) == ("a", clients[0])
    streams[-1].release()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [c.closed for c in clients] == [1, 0]
    short.release()
    await session.aclose()
    assert [c.closed for c in clients] == [1, 1]


@virtual
async def test_every_field_of_a_read_is_of_one_generation():
    def prepare(secret):
        return f"headers of {secret.reveal()}"

    session, clients = await session_of(Source(*"abcdefghij"), prepare=prepare)
    torn = reads = 0

    async def read():
        nonlocal torn, reads
        for _ in range(500):
            snapshot = session.snapshot
            seen = (snapshot.generation, snapshot.secret.reveal(), snapshot.prepared, clients.index(snapshot.client))
            expected = "abcdefghij"[snapshot.generation - 1]
            torn += seen != (snapshot.generation, expected, f"headers of {expected}", snapshot.generation - 1)
            reads += 1
            await asyncio.sleep(0.02)

    async def rotate():
        for _ in range(9):
            await asyncio.sleep(1)
            await session.rebuild(force=True)

    await asyncio.gather(rotate(), *(read() for _ in range(20)))
    assert (torn, reads, session.generation) == (0, 10_000, 10)
    await session.aclose()


@virtual
async def test_a_cancelled_caller_does_not_cancel_the_rebuild():
    session, _ = await session_of(Source("a", "b", takes_s=0.1))
    first = asyncio.ensure_future(session.rebuild(refused(1)))
    second = asyncio.ensure_future(session.rebuild(refused(1)))
    await asyncio.sleep(0.05)
    first.cancel()
    assert (await second).generation == 2
    assert first.cancelled()
    await session.aclose()


@virtual
async def test_closing_ends_everything():
    session, clients = await session_of(Source("a", "b", takes_s=5))
    rebuild = asyncio.ensure_future(session.rebuild(refused(1)))
    await asyncio.sleep(1)
    await session.aclose()
    await session.aclose()
    assert clients[0].closed
    with pytest.raises(NetworkError):
        await rebuild
    with pytest.raises(NetworkError):
        await session.rebuild(force=True)
    assert "closed" in repr(session)


@virtual
async def test_a_session_takes_rebuild_requests_in_an_actor_system():
    session, clients = await session_of(Source("a", "a", "b"))
    async with ActorSystem() as system:
        ref = system.spawn(session, "session")
        with pytest.raises(Unauthorized):
            await ref.ask(SessionRebuildRequest(cause=refused(1), generation=1))
        assert (await ref.ask(SessionRebuildRequest(force=True))).generation == 2
    assert [c.closed for c in clients] == [1, 1]


@virtual
async def test_a_pool_of_keys_is_one_credential_that_changes_as_a_whole():
    session, _ = await session_of((Source("a", "a", "a"), Source("x", "x", "y")))
    assert [s.reveal() for s in session.snapshot.secrets] == ["a", "x"]
    with pytest.raises(Unauthorized):
        await session.rebuild(refused(1))
    await asyncio.sleep(1)
    assert [s.reveal() for s in (await session.rebuild(refused(1))).secrets] == ["a", "y"]
    await session.aclose()


@virtual
async def test_no_credential_no_session():
    for source in (Source(ConfigError("file /etc/key is empty")), Source(""), ()):
        with pytest.raises(ConfigError):
            await session_of(source)


@virtual
async def test_nothing_shows_the_credential():
    session, _ = await session_of(StaticApiKey("sk-hunter2"), prepare=lambda s: {"authorization": s.reveal()})
    for thing in (session, session.snapshot, session._config, session._config.credentials, session.snapshot.secrets):
        shown = f"{thing!r} {thing} {getattr(thing, '__dict__', '')}"
        assert "hunter2" not in shown
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            pickle.dumps(thing)
    await session.aclose()
