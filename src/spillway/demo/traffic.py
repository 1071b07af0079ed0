"""Callers that never tire: requests to a gateway at a rate that swells and ebbs, some streamed, some hopeless."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import aiohttp

from spillway.core.clock import Clock, Rng, entropy, sleep
from spillway.demo import scene
from spillway.demo.living import KEYS

MEAN_PER_S = 6.0
_SWING_S = 180.0
_AT_ONCE = 96
_SHARES = (("search", 0.62), ("support", 0.3), ("reports", 0.08))
_TIMEOUT = aiohttp.ClientTimeout(total=30.0)


def per_second(at_s: float) -> float:
    """Return the rate at one time: between 0.4 and 1.6 of the mean, within three minutes."""
    return MEAN_PER_S * (1.0 + 0.6 * math.sin(at_s * 2 * math.pi / _SWING_S))


async def keep_asking(url: str, clock: Clock, rng: Rng = entropy) -> None:
    """Send requests to the gateway at `url` until cancelled; what becomes of them is for the gateway to tell.

    Cancellation: ends every request that is under way.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(url, timeout=_TIMEOUT) as session, asyncio.TaskGroup() as tasks:
        number = 0
        while True:
            await sleep(-math.log(1.0 - rng.random()) / per_second(clock()))
            await gate.acquire()
            number += 1
            task = tasks.create_task(_ask(session, number, rng))
            task.add_done_callback(lambda _: gate.release())


async def _ask(session: aiohttp.ClientSession, number: int, rng: Rng) -> None:
    who = _pick(rng)
    stream = rng.random() < 0.6
    words = int(12 + 50 * rng.random())
    body: dict[str, Any] = {
        "model": scene.NAMES[number % 3],
        "messages": [{"role": "user", "content": f"Prompt {number}: describe this place in {words} words"}],
        "max_tokens": scene.MAX_TOKENS,
        "stream": stream,
    }
    if rng.random() < 0.01:
        body["messages"] = "not a list"
    headers = {"authorization": f"Bearer {KEYS[who]}"}
    impatient = stream and rng.random() < 0.02
    try:
        async with session.post("/v1/chat/completions", json=body, headers=headers) as response:
            async for _ in response.content.iter_any():
                if impatient:
                    break
    except (aiohttp.ClientError, TimeoutError):
        return


def _pick(rng: Rng) -> str:
    left = rng.random()
    for who, part in _SHARES:
        left -= part
        if left < 0:
            return who
    return _SHARES[0][0]
