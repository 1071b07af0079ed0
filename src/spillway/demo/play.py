"""Runs the demonstration from end to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

import spillway
from spillway.demo import scene, screen
from spillway.demo.careful import run_careful
from spillway.demo.naive import run_naive
from spillway.demo.outcome import Outcome, Verdict, judge
from spillway.runtime.loops import LoopThread
from spillway.sim import Simulator

if TYPE_CHECKING:
    from spillway.remote.circuit_breaker import BreakerEvent
    from spillway.runtime.metrics import DeploymentMetrics

Play = Callable[[str], Awaitable[Outcome]]


class Show(msgspec.Struct, kw_only=True):
    """Everything the demonstration found."""

    naive: Outcome
    ours: Outcome
    naive_verdict: Verdict
    our_verdict: Verdict
    metrics: dict[str, DeploymentMetrics]
    breakers: dict[str, list[BreakerEvent]]
    began: float
    ended: float


async def play(bars: screen.Bars) -> Show:
    """Run both clients against the same providers and judge what they bring."""
    loop = asyncio.get_running_loop()
    asks = scene.asks()
    truth = await _truth(asks)

    bars.begin("naive")
    naive = await _against_providers(lambda url: run_naive(url, asks, lambda o: bars.update("naive", o)))
    bars.end("naive")

    bars.begin("spillway")
    breakers: dict[str, list[BreakerEvent]] = {name: [] for name in scene.NAMES}
    metrics: dict[str, DeploymentMetrics] = {}

    async def careful(url: str) -> Outcome:
        async with spillway.Cluster(scene.deployments(url)) as cluster:
            for name, events in breakers.items():
                cluster.deployment(name).circuit_breaker().subscribe(events.append)
            outcome = await run_careful(cluster, asks, lambda o: bars.update("spillway", o))
            metrics.update(cluster.metrics().per_deployment)
            return outcome

    began = loop.time()
    ours = await _against_providers(careful)
    bars.end("spillway")
    return Show(
        naive=naive,
        ours=ours,
        naive_verdict=judge(naive, truth),
        our_verdict=judge(ours, truth),
        metrics=metrics,
        breakers=breakers,
        began=began,
        ended=loop.time(),
    )


async def _truth(asks: list[scene.Ask]) -> dict[int, frozenset[str]]:
    """Ask every prompt of every provider while none misbehaves: each of those answers is a right one."""
    number_of = {ask.text: ask.number for ask in asks}
    right: dict[int, set[str]] = {ask.number: set() for ask in asks}
    async with Simulator(scene.quiet()) as sim:
        plain = [
            spillway.Deployment(name=d.name, runtime_config=d.runtime_config, pricing=d.pricing)
            for d in scene.deployments(sim.url)
        ]
        async with spillway.Cluster(plain) as cluster:
            for name in scene.NAMES:
                async for text, answer in cluster.map(name, list(number_of), max_tokens=scene.MAX_TOKENS):
                    if isinstance(answer, spillway.InferenceError):
                        raise answer
                    right[number_of[text]].add(answer.text)
    return {number: frozenset(texts) for number, texts in right.items()}


async def _against_providers(client: Play) -> Outcome:
    """Run one client against the providers, which live on a thread of their own: they count when a request arrives."""
    loop = asyncio.get_running_loop()
    providers = LoopThread()
    sim = Simulator(scene.misbehaving())
    try:
        await asyncio.to_thread(providers.run, sim.start)
        began = loop.time()
        outcome = await client(sim.url)
        outcome.seconds = loop.time() - began
        stats = sim.stats()
        await asyncio.to_thread(providers.run, sim.aclose)
    finally:
        await asyncio.to_thread(providers.close)
    outcome.calls = stats["asked"]
    outcome.over_limit = stats["over_limit"]
    outcome.billed_usd = stats["billed_usd"]
    return outcome


def show(found: Show) -> None:
    """Print the results to stdout."""
    console = screen.console()
    console.print()
    console.print(
        screen.compare((found.naive, found.naive_verdict), (found.ours, found.our_verdict), budget_usd=scene.BUDGET_USD)
    )
    console.print(screen.per_deployment(found.metrics))
    console.print("Circuit breakers over time", style="italic")
    for name, events in found.breakers.items():
        console.print(screen.breaker_line(name, found.began, events, found.ended))
    console.print()
    for number, code in sorted(found.ours.failed.items()):
        console.print(f"prompt {number} failed: {code}")
    console.print(conclusion(found), style="bold")


def conclusion(found: Show) -> str:
    """Return the whole in one line."""
    return f"{found.our_verdict.once} of {scene.PROMPTS} prompts answered exactly once"


def succeeded(found: Show) -> bool:
    """Return whether every prompt was answered exactly once."""
    return found.our_verdict.once == scene.PROMPTS


def as_values(found: Show) -> dict[str, Any]:
    """Return what `show` prints as plain values, times in seconds since Spillway's own run began."""

    def client(outcome: Outcome, verdict: Verdict) -> dict[str, Any]:
        return {
            **msgspec.to_builtins(verdict),
            "failed": outcome.failed,
            "calls": outcome.calls,
            "over_limit": outcome.over_limit,
            "billed_usd": outcome.billed_usd,
            "over_budget_usd": max(0.0, outcome.billed_usd - scene.BUDGET_USD),
            "seconds": outcome.seconds,
        }

    return {
        "prompts": scene.PROMPTS,
        "answered_once": found.our_verdict.once,
        "naive": client(found.naive, found.naive_verdict),
        "spillway": client(found.ours, found.our_verdict),
        "deployments": msgspec.to_builtins(found.metrics),
        "breakers": {
            name: [
                {"state": word, "from_s": since - found.began, "to_s": until - found.began}
                for word, since, until in screen.spans(found.began, events, found.ended)
            ]
            for name, events in found.breakers.items()
        },
    }
