"""What nodes tell their operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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


def circuit(seen: dict[str, Any]) -> str:
    """Return the state of the circuit."""
    return str(seen.get("breaker", {}).get("state", "")).lower()


def limiter_mode(seen: dict[str, Any]) -> str:
    """Return how limits are held."""
    return str(seen.get("limits", {}).get("mode", ""))


async def everybody(
    stage: Stage[GatewayNode], read: Callable[[dict[str, Any]], str], wanted: str, *, what: str, within_s: float
) -> dict[int, float]:
    """Return when each node is seen to be in a state, `NEVER_S` for one that is not in that time.

    Args:
        read: finds the state in what a node tells.
        what: goes with the node's name into the record of what happened.
    """

    async def one(node: GatewayNode) -> float:
        until = stage.now() + within_s
        while read(await told(stage, node)) != wanted:
            if stage.now() > until:
                return NEVER_S
            await sleep(_LOOK_S)
        stage.record(f"node {node.number} {what}")
        return stage.now()

    seen = await asyncio.gather(*(one(node) for node in stage.nodes))
    return {node.number: at_s for node, at_s in zip(stage.nodes, seen, strict=True)}
