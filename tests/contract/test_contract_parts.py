"""Session, HTTP client, engine and worker: what of them is written down."""

import asyncio

import pytest

import spillway
from spillway.remote.engine import AddRequest, EngineMetrics, RemoteEngineConfig, RemoteEngineCoreActor
from spillway.remote.http import HttpClient, build_client
from spillway.remote.session import (
    CredentialProvider,
    RemoteSessionActor,
    SessionConfig,
    SessionRebuildRequest,
    SessionSnapshot,
    StaticApiKey,
)
from spillway.remote.worker import RemoteWorkerActor, WorkerSlot
from spillway.testing.byte_server import ByteServer, Do, answer


async def test_a_static_key_is_a_credential_that_never_shows():
    for given in (spillway.Secret("sk-hunter2"), "sk-hunter2"):
        key = StaticApiKey(given)
        assert isinstance(key, CredentialProvider)
        token = await key.token()
        assert isinstance(token, spillway.Secret)
        assert token == spillway.Secret("sk-hunter2")
        assert "hunter2" not in repr(key)


def test_a_client_can_be_built_anywhere():
    client = build_client(spillway.Timeouts(), "spillway-test/1")
    assert isinstance(client, HttpClient)
    asyncio.run(client.aclose())
    assert isinstance(build_client(timeouts=spillway.Timeouts(connect_timeout_s=1), user_agent="x"), HttpClient)


async def test_a_client_says_who_it_is():
    from spillway.remote.http import HttpRequest

    client = build_client(spillway.Timeouts(), "spillway-test/1")
    async with ByteServer([Do.READ, answer(b"hello"), Do.FIN]) as server:
        response = await client.send(HttpRequest("POST", server.url, {}, b"{}"))
        assert (response.status, await response.read()) == (200, b"hello")
        await response.aclose()
        assert b"spillway-test/1" in server.conversations[0].received
        await client.aclose()


async def test_a_session_is_read_built_and_replaced():
    class Rotating:
        value = "one"

        async def token(self):
            return spillway.Secret(self.value)

    source = Rotating()
    assert isinstance(source, CredentialProvider)
    config = SessionConfig(
        provider="openai", credentials=source, build_client=lambda: build_client(spillway.Timeouts(), "x")
    )
    session = await RemoteSessionActor.bootstrap(config)
    first = session.snapshot
    assert isinstance(first, SessionSnapshot)
    assert first.secret == spillway.Secret("one")
    source.value = "two"
    second = await session.receive(SessionRebuildRequest(cause=spillway.Unauthorized("x")))
    assert second.secret == spillway.Secret("two")
    assert second.generation == first.generation + 1
    with pytest.raises(spillway.Unauthorized):
        await session.rebuild(spillway.Unauthorized("x"))
    await session.aclose()


def test_the_size_of_an_engine():
    config = RemoteEngineConfig()
    assert (config.queue_capacity, config.worker_count, config.on_capacity_exhausted) == (1024, 8, "queue")
    assert RemoteEngineConfig(10, 2, "reject") == RemoteEngineConfig(
        queue_capacity=10, worker_count=2, on_capacity_exhausted="reject"
    )


@pytest.mark.parametrize(
    "wrong", [{"queue_capacity": 0}, {"worker_count": 0}, {"on_capacity_exhausted": "x"}, {"worker_count": "8"}]
)
def test_a_size_that_is_none_is_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        RemoteEngineConfig(**wrong)


def test_what_else_is_named_is_there():
    assert all(isinstance(kind, type) for kind in (AddRequest, EngineMetrics, RemoteEngineCoreActor, RemoteWorkerActor))
    assert isinstance(WorkerSlot, type)
