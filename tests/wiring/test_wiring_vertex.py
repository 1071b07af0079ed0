"""Vertex as its users configure it: a service account's key file or what gcloud left, and tokens that end."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import spillway
from spillway import GeminiConfig, SecretRef
from spillway.sim import SimConfig, Simulator
from spillway.testing.byte_server import ByteServer, Do, answer

MODEL = "gemini-3.8-flash"


@pytest.fixture(scope="module")
def pem():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_file(path, pem, token_uri, **more):
    info = {"type": "service_account", "private_key_id": "k1", "private_key": pem, "client_email": "s@p.example"}
    path.write_text(json.dumps(info | {"token_uri": token_uri} | more))
    return path


def vertex(endpoint, *, environ=None, options=None, **config):
    runtime_config = GeminiConfig(variant="vertex", project="p", region="europe-west1", endpoint=endpoint, **config)
    deployment = spillway.Deployment(name=MODEL, runtime_config=runtime_config, **(options or {}))
    return spillway.Cluster([deployment], environ=environ or {})


@pytest.mark.option("gemini.credentials")
async def test_a_key_files_token_ends_and_is_renewed_under_load_without_a_failure(tmp_path, pem):
    async with Simulator(SimConfig(seed=3, token_lifetime_s=1.0)) as sim:
        path = key_file(tmp_path / "sa.json", pem, f"{sim.url}/token")
        async with vertex(sim.url, credentials=SecretRef(from_file=str(path))) as cluster:
            loop = asyncio.get_running_loop()
            until = loop.time() + 3.0

            async def ask(number):
                answered = 0
                while loop.time() < until:
                    if number % 2:
                        answer = await cluster.generate(MODEL, f"Say 5 words, {number}")
                        assert answer.attempts == 1
                    else:
                        async with cluster.stream(MODEL, f"Say 5 words, {number}") as stream:
                            assert [chunk async for chunk in stream]
                    answered += 1
                    await asyncio.sleep(0.01)
                return answered

            answered = sum(await asyncio.gather(*(ask(number) for number in range(8))))
        stats = sim.stats()
        assert stats["served"] == stats["asked"] == answered
        assert answered > 100
        assert 4 <= sim.tokens.issued <= 8


async def test_a_token_that_dies_early_is_fetched_anew_once(tmp_path, pem):
    async with Simulator(SimConfig(seed=3)) as sim:
        path = key_file(tmp_path / "sa.json", pem, f"{sim.url}/token")
        async with vertex(sim.url, credentials=SecretRef(from_file=str(path))) as cluster:
            assert (await cluster.generate(MODEL, "hi")).attempts == 1
            sim.tokens.revoke()
            answers = await asyncio.gather(*(cluster.generate(MODEL, f"hi {number}") for number in range(50)))
            assert {one.attempts for one in answers} <= {1, 2}
            assert sim.tokens.issued == 2
            assert sim.stats()["by_status"] == {"200": 51, "401": sum(one.attempts == 2 for one in answers)}


async def test_an_issuer_that_is_down_costs_nothing_while_there_is_a_token_and_is_told_when_there_is_none(
    tmp_path, pem
):
    async with Simulator(SimConfig(seed=3, token_lifetime_s=4.0)) as sim:
        path = key_file(tmp_path / "sa.json", pem, f"{sim.url}/token")
        async with vertex(sim.url, credentials=SecretRef(from_file=str(path))) as cluster:
            await cluster.generate(MODEL, "hi")
            sim.tokens.outage = 503
            await asyncio.sleep(2.1)
            assert (await cluster.generate(MODEL, "hi")).text  # the early window
            await asyncio.sleep(1.0)
            with pytest.raises(spillway.Unauthorized, match=r"sa\.json") as caught:  # the late one
                async with asyncio.timeout(5.5):
                    await cluster.generate(MODEL, "hi")
            assert pem.splitlines()[1] not in f"{caught.value!r}"
            sim.tokens.outage = None
            await asyncio.sleep(1.1)
            assert (await cluster.generate(MODEL, "hi")).text


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_an_issuer_whose_clock_is_another_one_is_believed(tmp_path, pem, minutes):
    skewed = datetime.now(UTC) + timedelta(minutes=minutes)
    async with Simulator(SimConfig(seed=3), wall=lambda: skewed) as sim:
        path = key_file(tmp_path / "sa.json", pem, f"{sim.url}/token")
        async with vertex(sim.url, credentials=SecretRef(from_file=str(path))) as cluster:
            for _ in range(3):
                assert (await cluster.generate(MODEL, "hi")).attempts == 1
        assert sim.tokens.issued == 1


async def test_the_key_may_come_from_the_environment_or_a_command(tmp_path, pem):
    async with Simulator(SimConfig(seed=3)) as sim:
        path = key_file(tmp_path / "sa.json", pem, f"{sim.url}/token")
        for source in (SecretRef(from_env="SA"), SecretRef(from_command=("cat", str(path)))):
            async with vertex(sim.url, environ={"SA": path.read_text()}, credentials=source) as cluster:
                assert (await cluster.generate(MODEL, "hi")).text
        assert sim.tokens.issued == 2


async def test_a_project_without_credentials_uses_the_application_default_ones(tmp_path, pem):
    async with Simulator(SimConfig(seed=3)) as sim:
        path = key_file(tmp_path / "sa.json", pem, f"{sim.url}/token")
        async with vertex(sim.url, environ={"GOOGLE_APPLICATION_CREDENTIALS": str(path)}) as cluster:
            assert (await cluster.generate(MODEL, "hi")).text
        host = sim.url.removeprefix("http://")
        environ = {"GCE_METADATA_HOST": host, "HOME": str(tmp_path), "GEMINI_API_KEY": "not for this"}
        async with vertex(sim.url, environ=environ) as cluster:
            assert (await cluster.generate(MODEL, "hi")).text
        assert sim.tokens.issued == 2
        assert set(sim.stats()["by_key"]) == {"ya29.sim-1", "ya29.sim-2"}


@pytest.mark.option("gemini.quota_project")
@pytest.mark.parametrize(
    ("option", "of_the_key", "sent"), [("q", None, "q"), (None, "k", "k"), ("q", "k", "q"), (None, None, None)]
)
async def test_the_quota_project_is_the_options_else_the_credentials_own(tmp_path, pem, option, of_the_key, sent):
    async with Simulator() as sim, ByteServer([Do.READ, answer(b"{}", 400)]) as server:
        more = {"quota_project_id": of_the_key} if of_the_key else {}
        path = key_file(tmp_path / "sa.json", pem, f"{sim.url}/token", **more)
        root = server.url.removesuffix("/v1")
        async with vertex(root, credentials=SecretRef(from_file=str(path)), quota_project=option) as cluster:
            with pytest.raises(spillway.BadRequest):
                await cluster.generate(MODEL, "hi")
        received = bytes(server.conversations[0].received).decode().lower()
        assert "authorization: bearer ya29.sim-1" in received
        assert (f"x-goog-user-project: {sent}\r\n" in received) if sent else ("x-goog-user-project" not in received)
