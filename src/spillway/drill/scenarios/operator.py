"""What nodes tell their operator."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import msgspec

from spillway.core.clock import sleep
from spillway.drill.nodes import MODEL, GatewayNode
from spillway.drill.processes import DrillError
from spillway.drill.stage import Stage

NEVER_S = float("inf")
_LOOK_S = 0.01


async def told(stage: Stage[GatewayNode], node: GatewayNode) -> dict[str, Any]:
    """Return what a node's operator sees of the deployment.

    Raises:
        DrillError: it does not tell.
    """
    try:
        async with stage.session.get(f"{node.url}/admin/deployments/{MODEL}") as response:
            return msgspec.json.decode(await response.read(), type=dict[str, Any])
    except (aiohttp.ClientError, msgspec.DecodeError) as error:
        raise DrillError(f"node {node.number} does not tell its operator anything: {error}") from error


def limiter_mode(seen: dict[str, Any]) -> str:
    """Return how limits are held."""
    return str(seen.get("limits", {}).get("mode", ""))


async def everybody_says(stage: Stage[GatewayNode], mode: str, *, within_s: float) -> float:
    """Return when each node has told its operator that limits are held so; `NEVER_S` when one has not in that time."""

    async def one(node: GatewayNode) -> float:
        until = stage.now() + within_s
        while limiter_mode(await told(stage, node)) != mode:
            if stage.now() > until:
                return NEVER_S
            await sleep(_LOOK_S)
        stage.record(f"node {node.number} says that its limits are {mode}")
        return stage.now()

    return max(await asyncio.gather(*(one(node) for node in stage.nodes)))


class _Line(msgspec.Struct):
    """A line of a gateway's log, as far as it is about a circuit."""

    time: str = ""
    event: str = ""
    state: str = ""


def circuit_changes(log: str) -> list[tuple[str, str]]:
    """Return the changes of a node's own circuit, each with its wall time: what it tells over HTTP is of all nodes."""
    found = []
    for text in log.splitlines():
        if '"circuit"' in text:
            line = msgspec.json.decode(text, type=_Line)
            if line.event == "circuit":
                found.append((line.time, line.state))
    return found


async def everybody_turns(
    stage: Stage[GatewayNode], state: str, *, after_s: float, within_s: float
) -> dict[int, float]:
    """Return when the circuit of each node turned to a state, `NEVER_S` for one that did not.

    Args:
        after_s: the first time after this instant counts.
        within_s: for how long to wait for it.
    """
    until = stage.now() + within_s
    turned: dict[int, float] = {}
    while len(turned) < len(stage.nodes) and stage.now() < until:
        await sleep(_LOOK_S)
        for node in stage.nodes:
            changes = circuit_changes(node.program.printed()) if node.number not in turned else []
            times = [stage.instant(wall) for wall, became in changes if became == state]
            first_s = min((time_s for time_s in times if time_s >= after_s), default=None)
            if first_s is not None:
                turned[node.number] = first_s
                stage.record(f"the circuit of node {node.number} has turned {state}", at_s=first_s)
    return {node.number: turned.get(node.number, NEVER_S) for node in stage.nodes}
