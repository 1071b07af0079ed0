"""The same prompts through a Cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import spillway
from spillway.core.clock import sleep
from spillway.demo.outcome import Outcome
from spillway.demo.scene import MAX_TOKENS, Ask

_ASKED_AGAIN = 8


async def run_careful(cluster: spillway.Cluster, asks: Iterable[Ask], progress: Callable[[Outcome], None]) -> Outcome:
    """Send every prompt; ask again when a stream broke after its first words, or when nobody can answer yet."""
    outcome = Outcome()

    async def one(ask: Ask) -> None:
        try:
            outcome.hand_over(ask.number, await _insist(cluster, ask))
        except spillway.InferenceError as error:
            outcome.failed[ask.number] = error.code
        progress(outcome)

    async with asyncio.TaskGroup() as tasks:
        for ask in asks:
            tasks.create_task(one(ask))
    return outcome


async def _insist(cluster: spillway.Cluster, ask: Ask) -> str:
    for left in reversed(range(_ASKED_AGAIN)):
        try:
            return await _answer(cluster, ask)
        except spillway.InferenceError as error:
            broken = isinstance(error, spillway.StreamInterrupted)
            if not left or not (broken or error.falls_back):
                raise
            await sleep(error.retry_after or 0.0)
    raise AssertionError("unreachable")


async def _answer(cluster: spillway.Cluster, ask: Ask) -> str:
    if not ask.stream:
        return (await cluster.generate(ask.deployment, ask.text, max_tokens=MAX_TOKENS)).text
    async with cluster.stream(ask.deployment, ask.text, max_tokens=MAX_TOKENS) as stream:
        return "".join([chunk.text_delta async for chunk in stream])
