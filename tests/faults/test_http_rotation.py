"""Credentials are rotated under streams that are under way, over real connections."""

import asyncio

from spillway.core.options import Timeouts
from spillway.core.secrets import SecretRef
from spillway.remote.http import HttpRequest, build_client
from spillway.remote.session import RemoteSessionActor, SessionConfig, credential_provider
from spillway.testing.byte_server import ByteServer, Do, answer, chunk

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_streams_survive_a_rotation_and_their_client_closes_after_the_last(tmp_path):
    key = tmp_path / "key"
    key.write_text("old")
    go = asyncio.Event()
    stream = [Do.READ, HEAD + chunk(b"first"), go, chunk(b"second") + b"0\r\n\r\n"]
    async with ByteServer(*[stream] * 20, [Do.READ, answer(b"new")]) as server:
        session = await RemoteSessionActor.bootstrap(
            SessionConfig(
                provider="openai",
                credentials=credential_provider(SecretRef(from_file=str(key)), {}),
                build_client=lambda: build_client(Timeouts(), "rotation/1"),
                prepare=lambda secret: {"authorization": f"Bearer {secret.reveal()}"},
            )
        )

        async def open_stream():
            held = session.snapshot.acquire()
            response = await held.client.send(HttpRequest("POST", server.url, held.prepared, b"{}"))
            assert await response.read_some() == b"first"
            return held, response

        streams = await asyncio.gather(*(open_stream() for _ in range(20)))
        key.write_text("new")
        await session.rebuild(force=True)

        held = session.snapshot.acquire()
        response = await held.client.send(HttpRequest("POST", server.url, held.prepared, b"{}"))
        assert await response.read() == b"new"
        held.release()
        assert b"Bearer new\r\n" in server.conversations[20].received

        assert not any(c.gone.is_set() for c in server.conversations)
        go.set()
        for held, response in streams:
            assert held.generation == 1
            assert await response.read() == b"second"
            held.release()
        async with asyncio.timeout(1):
            for conversation in server.conversations[:20]:
                await conversation.gone.wait()
        assert not server.conversations[20].gone.is_set()
        await session.aclose()
