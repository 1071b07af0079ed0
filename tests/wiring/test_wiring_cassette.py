"""Cassettes through the Cluster: recorded against the simulator, replayed when it has gone."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap

import pytest
from stage import ended

import spillway
from spillway import Secret
from spillway.sim import SimConfig, Simulator
from spillway.testing import Cassette, run_virtual
from spillway.testing.byte_server import ByteServer, Do, answer

PRICING = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0)
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
RUNTIMES = {
    "openai": ("gpt-4o-mini", lambda url, key: spillway.OpenAiConfig(endpoint=f"{url}/v1", api_key=key)),
    "azure": (
        "gpt-4o-mini",
        lambda url, key: spillway.OpenAiConfig(
            variant="azure", endpoint=url, api_version="2024-10-21", api_key=key, deployment="mine"
        ),
    ),
    "anthropic": ("claude-haiku-4-5", lambda url, key: spillway.AnthropicConfig(endpoint=url, api_key=key)),
    "gemini": ("gemini-2.5-flash", lambda url, key: spillway.GeminiConfig(endpoint=url, api_key=key)),
    "vertex": (
        "gemini-3.8-flash",
        lambda url, key: spillway.GeminiConfig(
            variant="vertex", project="my-own-project", region="europe-west1", endpoint=url, api_key=key
        ),
    ),
    "litellm": ("gpt-4o-mini", lambda url, key: spillway.LiteLlmConfig(endpoint=f"{url}/litellm/v1", api_key=key)),
}


def deployment(url, runtime="openai", key=None, **options):
    model, config = RUNTIMES[runtime]
    options.setdefault("retry", spillway.RetryPolicy(max_retries=0))
    options.setdefault("pricing", PRICING)
    config = config(url, Secret("sk-test-key") if key is None else key)
    return spillway.Deployment(name="m", model=model, runtime_config=config, **options)


def cluster_of(url, runtime="openai", key=None, **options):
    return spillway.Cluster([deployment(url, runtime, key, **options)], environ={})


async def streamed(cluster, prompt="Say hello", **options):
    stream = cluster.stream("m", prompt, **options)
    chunks = [chunk async for chunk in stream]
    return chunks, stream.tokens


async def conversation(url, runtime="openai"):
    """A bit of everything."""
    async with cluster_of(url, runtime) as cluster:
        said = [await cluster.generate("m", "Say hello"), await cluster.generate("m", "Say hello again", max_tokens=3)]
        said += await streamed(cluster)
        said += await streamed(cluster, "Use it", tools=[TOOL], tool_choice="required")
        for fault in ("401", "429-retry-after=3", "500", "context-length", "html-error-page"):
            error, _ = await ended(cluster.generate("m", "Say hello", extra_headers={"x-sim-fault": fault}))
            said.append((type(error), error.message, error.status, error.retry_after, error.reason, error.body))
            if fault == "401":
                await cluster.deployment("m").rebuild_session()
        for fault in ("reset-mid-stream", "truncated-stream", "error-event-mid-stream", "garbage-json"):
            for stream in (False, True):
                asked = cluster.generate if not stream else streamed
                args = ("m", fault) if not stream else (cluster, fault)
                error, _ = await ended(asked(*args, extra_headers={"x-sim-fault": fault}))
                said.append((type(error), error.message, error.reason, getattr(error, "partial", None)))
    return [one for one in said if not isinstance(one, list)] + [
        c for one in said if isinstance(one, list) for c in one
    ]


@pytest.fixture
async def sim():
    async with Simulator(SimConfig(seed=1)) as sim:
        yield sim


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cassettes" / "test.jsonl"


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_a_replay_is_the_same_conversation_without_its_provider(path, runtime):
    async with Simulator(SimConfig(seed=1)) as sim:
        with Cassette(path) as cassette:
            assert cassette.recording
            first = await conversation(sim.url, runtime)
    with Cassette(path) as cassette:
        assert not cassette.recording
        again = await conversation("http://nowhere.invalid", runtime)
        assert (cassette.unused, cassette.misses) == (0, [])
    assert again == first


async def test_the_reads_of_a_stream_are_kept_as_they_came(path):
    async with Simulator(SimConfig(seed=1, chunk_delay_s=0.002)) as sim:
        with Cassette(path):
            async with cluster_of(sim.url) as cluster:
                chunks, _ = await streamed(cluster)
    exchange = json.loads(path.read_text().splitlines()[1])
    assert len(exchange["response"]["chunks"]) > 5
    assert exchange["response"]["headers"]["content-type"].startswith("text/event-stream")
    assert "at" not in exchange["response"]
    with Cassette(path):
        async with cluster_of("http://nowhere.invalid") as cluster:
            assert (await streamed(cluster))[0] == chunks


async def test_the_pace_of_a_stream_is_kept_when_it_is_asked_for(path):
    async with Simulator(SimConfig(seed=1, latency_s=0.05, chunk_delay_s=0.005)) as sim:
        with Cassette(path, times=True):
            async with cluster_of(sim.url) as cluster:
                await streamed(cluster)
    took = json.loads(path.read_text().splitlines()[1])["response"]["at"]
    assert took == sorted(took)
    assert took[0] >= 0.04

    async def again():
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with cluster_of("http://nowhere.invalid") as cluster:
            await cluster.start()
            began = loop.time()
            await streamed(cluster)
        return loop.time() - began

    with Cassette(path, times=True):
        assert await asyncio.to_thread(run_virtual, again()) == pytest.approx(took[-1], abs=0.002)
    with Cassette(path):
        assert await asyncio.to_thread(run_virtual, again()) == 0.0


async def test_every_exchange_is_used_once_and_in_its_order(sim, path):
    sim.set_scenario({"phase": [{"from_s": 0, "to_s": 1e9, "p": 0.5, "fault": "500"}]})

    async def outcomes(url):
        async with cluster_of(url, circuit_breaker=spillway.CircuitBreakerConfig(minimum_calls=10**6)) as cluster:
            return [type((await ended(cluster.generate("m", "Say hello")))[0]) for _ in range(8)]

    with Cassette(path):
        first = await outcomes(sim.url)
    assert len(set(first)) == 2
    with Cassette(path) as cassette:
        assert await outcomes("http://nowhere.invalid") == first
        async with cluster_of("http://nowhere.invalid") as cluster:
            with pytest.raises(spillway.BadRequest, match=r"nearest|line 2 does, and was used already") as caught:
                await cluster.generate("m", "Say hello")
            assert caught.value.reason == "unrecorded"
            assert caught.value.attempts == 1
        assert len(cassette.misses) == 1


async def test_many_at_once_each_get_their_own(sim, path):
    prompts = [f"Say {number}" for number in range(20)] + ["Say it"] * 10

    async def answers(url):
        async with cluster_of(url) as cluster:
            return await asyncio.gather(*(cluster.generate("m", prompt) for prompt in prompts))

    with Cassette(path):
        first = await answers(sim.url)
    with Cassette(path) as cassette:
        again = await answers("http://nowhere.invalid")
        assert cassette.unused == 0
    assert [a.text for a in again] == [a.text for a in first]
    assert sorted(a.request_id for a in again) == sorted(a.request_id for a in first)


async def test_a_request_that_was_not_recorded_names_the_nearest(sim, path):
    with Cassette(path):
        async with cluster_of(sim.url) as cluster:
            await cluster.generate("m", "Write a poem about rivers", temperature=0.5)
            await cluster.generate("m", "Count to ten")
    with Cassette(path) as cassette:
        async with cluster_of("http://nowhere.invalid") as cluster:
            with pytest.raises(spillway.BadRequest) as caught:
                await cluster.generate("m", "Write a poem about oceans", max_tokens=7)
            assert str(caught.value) == (
                f"m: {path}: no exchange is left for POST /v1/chat/completions: nearest is line 2, which differs in "
                "body.max_tokens, body.messages[0].content, body.temperature"
            )
            assert (await cluster.generate("m", "Count to ten")).text
            assert cluster.metrics().per_deployment["m"].breaker == "CLOSED"
        assert cassette.unused == 1
        assert [line for line in cassette.misses if "line 2" in line] == cassette.misses


async def test_what_changes_from_run_to_run_is_not_compared_and_a_comparison_may_be_ones_own(sim, path):
    with Cassette(path):
        async with cluster_of(sim.url) as cluster:
            for n in range(3):
                await cluster.generate("m", f"Say {n}", extra={"user": "run-1", "metadata": {"run": "1"}})
    async with cluster_of("http://nowhere.invalid") as cluster:
        with Cassette(path):
            assert await cluster.generate("m", "Say 1", extra={"user": "run-2"})
    with Cassette(path, ignore=()):
        async with cluster_of("http://nowhere.invalid") as cluster:
            with pytest.raises(spillway.BadRequest, match=r"differs in body\.metadata, body\.user"):
                await cluster.generate("m", "Say 1", extra={"user": "run-2"})
    with Cassette(path, match=lambda recorded, asked: recorded.path == asked.path):
        async with cluster_of("http://nowhere.invalid") as cluster:
            assert await cluster.generate("m", "Something else entirely")


async def test_modes(sim, path):
    with pytest.raises(spillway.ConfigError, match="there is no such cassette"), Cassette(path, mode="replay"):
        pass
    with pytest.raises(ValueError, match="mode must be one of auto, record, replay, not 'once'"):
        Cassette(path, mode="once")

    async def one(prompt, url=sim.url):
        async with cluster_of(url) as cluster:
            return (await cluster.generate("m", prompt)).text

    with Cassette(path, mode="auto"):
        await one("first")
    with Cassette(path, mode="auto"):
        assert await one("first")
        with pytest.raises(spillway.BadRequest):
            await one("second")
    assert sim.stats()["served"] == 1
    with Cassette(path, mode="record"):
        await one("second")
    with Cassette(path, mode="replay") as cassette:
        assert await one("second", "http://nowhere.invalid")
        assert repr(cassette) == "<Cassette test.jsonl <Replay test.jsonl 1 of 1>>"
        assert cassette.unused == 0
    assert repr(cassette) == "<Cassette test.jsonl closed>"
    assert sim.stats()["served"] == 2


async def test_a_recording_of_a_block_that_failed_is_not_kept(sim, path):
    with pytest.raises(ZeroDivisionError), Cassette(path):
        async with cluster_of(sim.url) as cluster:
            await cluster.generate("m", "hi")
        raise ZeroDivisionError
    assert not path.exists()
    with Cassette(path):
        pass
    assert path.read_text() == '{"spillway_cassette":1}\n'


async def test_one_at_a_time_and_nothing_after_it(sim, path):
    with Cassette(path):
        cluster = cluster_of(sim.url)
        await cluster.generate("m", "hi")
        with pytest.raises(RuntimeError, match="there is one already"), Cassette(path):
            pass
    with pytest.raises(spillway.BadRequest, match="the cassette was closed"):
        await cluster.generate("m", "hi")
    await cluster.aclose()
    with Cassette(path):
        cluster = cluster_of(sim.url)
        await cluster.generate("m", "hi")
    with pytest.raises(spillway.BadRequest, match="the cassette was closed"):
        await cluster.generate("m", "hi")
    await cluster.aclose()
    async with cluster_of(sim.url) as cluster:
        assert (await cluster.generate("m", "hi")).text
    assert sim.stats()["served"] == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"spillway_cassette":2}\n', ": its format 2 is newer than this Spillway reads (1); upgrade Spillway, or"),
        ("", ":1: not a cassette of Spillway's"),
        ("[1]\n", ":1: not a cassette of Spillway's"),
        ('{"spillway_cassette":1}\n{"request": 3}\n', ":2: not a recorded exchange: "),
        ('{"spillway_cassette":1}\n\n{"request"\n', ":3: not a recorded exchange: "),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path, text, line):
    path = tmp_path / "c.jsonl"
    path.write_text(text)
    with pytest.raises(spillway.ConfigError) as caught, Cassette(path):
        pass
    assert str(caught.value).startswith(f"{path}{line}")


async def test_a_reader_that_left_is_told_where_the_recording_ends(path):
    async with Simulator(SimConfig(seed=1)) as sim:
        with Cassette(path):
            async with cluster_of(sim.url) as cluster:
                stream = cluster.stream("m", "hi", extra_headers={"x-sim-fault": "stall-mid-stream"})
                async with stream:
                    async for _ in stream:
                        break
                task = asyncio.create_task(
                    cluster.generate("m", "hi", extra_headers={"x-sim-fault": "stall-before-headers"})
                )
                await asyncio.sleep(0.05)
                task.cancel()
                await asyncio.wait([task])
    left = [json.loads(line)["response"]["left"] for line in path.read_text().splitlines()[1:]]
    assert left == [True, True]
    with Cassette(path):
        async with cluster_of("http://nowhere.invalid") as cluster:
            with pytest.raises(spillway.StreamInterrupted) as caught:
                await streamed(cluster, "hi")
            assert caught.value.partial.text
            assert "the recording ends here" in str(caught.value.__cause__ or caught.value)
            with pytest.raises(spillway.NetworkError, match="the recording ends here"):
                await cluster.generate("m", "hi")


async def test_what_could_not_be_sent_is_replayed_as_that(path):
    with Cassette(path):
        async with cluster_of("http://127.0.0.1:9") as cluster:
            first, _ = await ended(cluster.generate("m", "hi"))
    with Cassette(path):
        async with cluster_of("http://nowhere.invalid") as cluster:
            again, _ = await ended(cluster.generate("m", "hi"))
    assert isinstance(again, spillway.NetworkError)
    assert (again.reason, again.sent, again.retryable) == (first.reason, first.sent, first.retryable)


async def test_embeddings_and_numbers_come_back_to_the_last_digit(path):
    body = b'{"object":"list",\n "data":[{"index":0,"embedding":[0.1000000000000000055, -1e-7]}],\n "usage":{"prompt_tokens":1,"total_tokens":1}}'
    async with ByteServer(
        [Do.READ, answer(body, headers={"content-type": "application/json", "x-odd": "kept"})]
    ) as server:
        with Cassette(path, keep_headers=("X-Odd",)):
            async with cluster_of(server.url.removesuffix("/v1")) as cluster:
                first = await cluster.embed("m", ["a"])
    response = json.loads(path.read_text().splitlines()[1])["response"]
    assert response["headers"] == {"content-type": "application/json", "x-odd": "kept"}
    assert "0.1000000000000000055" in path.read_text()
    with Cassette(path):
        async with cluster_of("http://nowhere.invalid") as cluster:
            assert (await cluster.embed("m", ["a"])).vectors == first.vectors


async def test_a_replay_needs_no_key_and_opens_no_socket(sim, path, tmp_path):
    """In a process of its own, where connecting and looking names up end the process."""
    with Cassette(path):
        async with cluster_of(sim.url) as cluster:
            await cluster.generate("m", "Say hello")
            await streamed(cluster)
    (tmp_path / "spillway.toml").write_text(
        textwrap.dedent(f"""
        [[deployment]]
        name = "m"
        model = "gpt-4o-mini"
        [deployment.runtime_config]
        endpoint = "http://nowhere.invalid/v1"
        api_key = [{{ from_command = ["{tmp_path}/vault"] }}, {{ from_env = "NOT_THERE" }}]
        """)
    )
    code = textwrap.dedent(f"""
        import asyncio, os, sys

        def watch(event, args):
            if event in ("socket.connect", "socket.getaddrinfo", "socket.bind", "subprocess.Popen"):
                os.write(2, event.encode())
                os._exit(9)

        sys.addaudithook(watch)
        import spillway
        from spillway.testing import Cassette

        async def main():
            async with spillway.Cluster.from_file("spillway.toml", environ={{}}) as cluster:
                answer = await cluster.generate("m", "Say hello")
                streamed = [chunk.text_delta async for chunk in cluster.stream("m", "Say hello")]
                assert "".join(streamed) == answer.text
                print(answer.text)

        with Cassette({str(path)!r}, mode="replay"):
            asyncio.run(main())
        with Cassette({str(path)!r}, mode="replay"):
            with spillway.Cluster.from_file("spillway.toml", environ={{}}) as cluster:
                assert cluster.generate_sync("m", "Say hello").text
    """)
    run = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
