"""Requests and streamed events a second: Spillway with every policy on, beside bare aiohttp doing the same posts.

Runs both alternately in one process on one core; the server has the other. What counts is the ratio.
"""

import asyncio
import os
import pathlib
import statistics
import subprocess
import sys
import time

import aiohttp
import msgspec

import spillway

HERE = pathlib.Path(__file__).parent
CONCURRENCY = 64
BODY = msgspec.json.encode(
    {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello to the world."}]}
)
STREAM_BODY = msgspec.json.encode(
    {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Say hello to the world."}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
)


class Server:
    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, HERE / "server.py"], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().strip()}/v1"
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def cluster(url):
    return spillway.Cluster(
        [
            spillway.Deployment(
                name="gpt-4o-mini",
                runtime="openai",
                runtime_config=spillway.OpenAiConfig(endpoint=url, api_key=spillway.Secret("sk-bench")),
                rate_limits=spillway.RateLimits(requests_per_minute=100_000_000, tokens_per_minute=100_000_000_000),
                budget=spillway.Budget(max_spend_per_day_usd=1_000_000.0),
                pricing=spillway.Pricing(input_per_mtok_usd=0.15, output_per_mtok_usd=0.6),
            )
        ]
    )


async def spread(total, one):
    left = iter(range(total))

    async def worker():
        for _ in left:
            await one()

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return total / (time.perf_counter() - start)


async def bare_unary(session, url, decode):
    async with session.post(url, data=BODY) as response:
        decode(await response.read())


async def bare_stream(session, url, decode):
    """The least a client can do: split at blank lines, decode each event."""
    events = 0
    rest = b""
    async with session.post(url, data=STREAM_BODY) as response:
        async for piece in response.content.iter_any():
            *whole, rest = (rest + piece).split(b"\n\n")
            for event in whole:
                data = event[6:]
                if data != b"[DONE]":
                    decode(data)
                    events += 1
    assert events == 200, events


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    delta: Delta
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class Chunk(msgspec.Struct):
    choices: list[Choice]
    usage: Usage | None = None


async def measure(url, rounds, unary_total, stream_total):
    decode_unary = msgspec.json.Decoder().decode
    decode_chunk = msgspec.json.Decoder(Chunk).decode
    post = f"{url}/chat/completions"
    found = {"bare unary": [], "spillway unary": [], "bare stream": [], "spillway stream": []}
    headers = {"authorization": "Bearer sk-bench", "content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session, cluster(url) as ours:

        async def our_unary():
            tokens = await ours.generate("gpt-4o-mini", "Say hello to the world.")
            assert tokens.usage.output_tokens == 200

        async def our_stream():
            events = 0
            async for _ in ours.stream("gpt-4o-mini", "Say hello to the world."):
                events += 1
            assert events >= 198, events

        async def bare_one():
            await bare_unary(session, post, decode_unary)

        async def bare_streamed():
            await bare_stream(session, post, decode_chunk)

        for _ in range(rounds):
            found["bare unary"].append(await spread(unary_total, bare_one))
            found["spillway unary"].append(await spread(unary_total, our_unary))
            found["bare stream"].append(200 * await spread(stream_total, bare_streamed))
            found["spillway stream"].append(200 * await spread(stream_total, our_stream))
    return {name: statistics.median(values[1:] or values) for name, values in found.items()}


def run(rounds=5, unary_total=6000, stream_total=400, loop="asyncio"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    try:
        with Server() as server:
            factory = asyncio.new_event_loop
            if loop == "uvloop":
                import uvloop

                factory = uvloop.new_event_loop
            with asyncio.Runner(loop_factory=factory) as runner:
                return runner.run(measure(server.url, rounds, unary_total, stream_total))
    finally:
        os.sched_setaffinity(0, set(cores))


if __name__ == "__main__":
    for loop in sys.argv[1:] or ["asyncio", "uvloop"]:
        found = run(loop=loop)
        for name, value in found.items():
            print(f"{loop:8} {name:16} {value:12,.0f}")
        print(
            f"{loop:8} unary ratio {found['spillway unary'] / found['bare unary']:.2f}"
            f"  stream ratio {found['spillway stream'] / found['bare stream']:.2f}"
        )
