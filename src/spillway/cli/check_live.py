"""Starts a project as a program would, and asks each of its deployments one tiny question."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from spillway.core.clock import monotonic
from spillway.core.errors import ConfigError, InferenceError, NetworkError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import Deployment
from spillway.core.ports import ModelRunner
from spillway.providers.registry import make_runner
from spillway.remote.http import build_client
from spillway.runtime.cluster import Cluster
from spillway.runtime.project import ProjectFile
from spillway.runtime.store import MEMORY, store_of
from spillway.stores.shared import Store

QUESTION = "Say ok"
MAX_TOKENS = 16
TIMEOUT_S = 30.0
USER_AGENT = "spillway"

_Runners = dict[str, list[ModelRunner]]


class StoreSeen(msgspec.Struct, kw_only=True):
    """Where state is shared.

    Attributes:
        url: without login and options; `memory`: nowhere.
        cluster: the name that all who share have.
        answered: whether it was asked and answered within 0.25 s, None when it was not asked.
        said: in words.
    """

    url: str
    cluster: str
    answered: bool | None = None
    said: str = ""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment did with one tiny request.

    Attributes:
        answered: whether an answer came.
        said: the answer, or the error in one line.
        latency_s: seconds until then.
        cost_usd: None when it is not known.
        limits: what the answer's headers told of the provider's limits.
    """

    name: str
    answered: bool
    said: str
    latency_s: float
    attempts: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    limits: LimitsSeen | None = None


async def ask_store(store: Store, seen: StoreSeen) -> None:
    """Note whether a store answers within 0.25 s; nothing is written to it."""
    link = store.connect()
    began = monotonic()
    try:
        await link.open()
    except NetworkError as error:
        seen.answered, seen.said = False, str(error)
    else:
        seen.answered, seen.said = True, f"answers in {(monotonic() - began) * 1000:.1f} ms"
    finally:
        await link.aclose()


def start(
    path: Path, project: ProjectFile, environ: Mapping[str, str], *, live: bool, store: StoreSeen | None = None
) -> list[Seen]:
    """Build everything that a program would before its first request, and with `live` ask store and deployments.

    Args:
        store: takes what is seen of the store.

    Raises:
        ConfigError: something would keep a program from starting.
    """
    return asyncio.run(_start(path, project, environ, live=live, store=store))


async def _start(
    path: Path, project: ProjectFile, environ: Mapping[str, str], *, live: bool, store: StoreSeen | None
) -> list[Seen]:
    for deployment in project.deployments:
        await _try_client(deployment)
    made: _Runners = {}
    names = [deployment.name for deployment in project.deployments]
    runners = {name: partial(_make, made, environ) for name in names}
    # What is not asked anything is not told either that it is there.
    shared = store_of(project) if live else MEMORY
    if store is not None and not isinstance(shared, str):
        await ask_store(shared, store)
    async with Cluster.from_file(path, runners=runners, environ=environ, store=shared) as cluster:
        if not live:
            return []
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_ask(cluster, name, made[name])) for name in names]
    return [task.result() for task in asked]


async def _try_client(deployment: Deployment) -> None:
    """Find out what a first request would otherwise; it also takes the loading of HTTP out of the latencies."""
    try:
        client = build_client(deployment.timeouts, USER_AGENT, http=deployment.http)
    except ConfigError as error:
        raise ConfigError(f"deployment {deployment.name!r}: {error}") from error
    await client.aclose()


def _make(made: _Runners, environ: Mapping[str, str], deployment: Deployment) -> ModelRunner:
    runner = make_runner(deployment, environ=environ)
    made.setdefault(deployment.name, []).append(runner)
    return runner


async def _ask(cluster: Cluster, name: str, runners: Sequence[ModelRunner]) -> Seen:
    began = monotonic()
    shut = cluster.deployment(name).trouble()
    if shut and cluster.sharing is not None and cluster.sharing.lost:
        return Seen(name=name, answered=False, said=f"not asked: {shut}", latency_s=0.0, attempts=0)
    try:
        tokens = await cluster.generate(name, QUESTION, max_tokens=MAX_TOKENS, timeout_s=TIMEOUT_S, fallback=False)
    except InferenceError as error:
        said = f"{error.code}: {error.message}"
        return Seen(name=name, answered=False, said=said, latency_s=monotonic() - began, attempts=error.attempts)
    usage = tokens.usage
    return Seen(
        name=name,
        answered=True,
        said=tokens.text,
        latency_s=monotonic() - began,
        attempts=tokens.attempts,
        input_tokens=None if usage is None else usage.input_tokens,
        output_tokens=None if usage is None else usage.output_tokens,
        cost_usd=tokens.cost_usd,
        limits=next((seen for runner in runners if (seen := runner.rate_limits) is not None), None),
    )
