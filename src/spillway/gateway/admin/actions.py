"""What an operator can do to a deployment; each action is noted in the journal, done or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from spillway.core.errors import BadRequest, ConfigError, InferenceError
from spillway.gateway.admin.bodies import DEFAULT_OPEN_S, BreakerAsk, DrainAsk, LimitsAsk, Nothing, read

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spillway.gateway.admin.console import Console
    from spillway.gateway.exchange import Exchange
    from spillway.runtime.deployed import Deployed

REBUILD_S = 60.0
"""How long a rebuild may read its secret."""


class ActionFailed(Exception):
    """It was tried and did not work; one line that says why, without a secret."""


async def breaker(_console: Console, found: Deployed, exchange: Exchange) -> dict[str, Any]:
    """Force the circuit open or closed."""
    ask = await read(exchange, BreakerAsk)
    circuits = [found.circuit_breaker(key) for key in range(found.keys)]
    if ask.action == "open":
        seconds = DEFAULT_OPEN_S if ask.for_s is None else ask.for_s
        for circuit in circuits:
            circuit.force_open(seconds)
        return {"did": f"circuit opened for {seconds:g} s"}
    for circuit in circuits:
        circuit.reset()
        if ask.for_s is not None:
            circuit.force_close(ask.for_s)
    held = "" if ask.for_s is None else f" and held closed for {ask.for_s:g} s"
    return {"did": f"circuit closed{held}"}


async def rebuild_session(_console: Console, found: Deployed, exchange: Exchange) -> dict[str, Any]:
    """Read the secret again and build new clients; what is in flight keeps the old ones."""
    await read(exchange, Nothing)
    try:
        async with asyncio.timeout(REBUILD_S):
            await found.rebuild_session()
    except TimeoutError:
        raise ActionFailed(f"the secret was not read within {REBUILD_S:g} s; the old session stays") from None
    except (InferenceError, ConfigError) as error:
        raise ActionFailed(f"{error}; the old session stays") from error
    return {"did": "secret read again, session rebuilt"}


async def drain(_console: Console, found: Deployed, exchange: Exchange) -> dict[str, Any]:
    """Take it out of service, or put it back."""
    ask = await read(exchange, DrainAsk)
    if ask.action == "resume":
        found.resume()
        return {"did": "put back into service"}
    running = found.metrics().busy
    found.pause()
    return {"did": f"taken out of service; {running} in flight will finish", "in_flight": running}


async def limits(console: Console, found: Deployed, exchange: Exchange) -> dict[str, Any]:
    """Have other limits for a time, or those of the file again."""
    ask = await read(exchange, LimitsAsk)
    if ask.action == "reset":
        others = console.incidents.reset(found)
        return {"did": "limits are those of the file", "shared_with": others}
    asked = ask.asked()
    others = console.incidents.set(found, asked, ask.for_s, console.loop())
    configured = found.options.rate_limits
    above = [name for name, value in asked.items() if value > (getattr(configured, name, None) or value)]
    words = ", ".join(f"{name} {value}" for name, value in asked.items())
    until = "until they are reset" if ask.for_s is None else f"for {ask.for_s:g} s"
    return {"did": f"limits set {until}: {words}", "above_configured": above, "shared_with": others}


ACTIONS: dict[str, Callable[[Console, Deployed, Exchange], Awaitable[dict[str, Any]]]] = {
    "breaker": breaker,
    "rebuild-session": rebuild_session,
    "drain": drain,
    "limits": limits,
}
"""By the last segment of the path."""


async def act(console: Console, name: str, action: str, found: Deployed, exchange: Exchange) -> dict[str, Any]:
    """Do one action and return what was done, with the state after it.

    Raises:
        BadRequest: the body is not one of this action.
        ActionFailed: it did not work.
    """
    who = exchange.peer or "unknown"
    try:
        result = await ACTIONS[action](console, found, exchange)
    except BadRequest:
        raise
    except ActionFailed as error:
        console.journal.did(who, name, action.replace("-", " "), str(error))
        raise
    console.journal.did(who, name, result["did"])
    console.changed()
    return {**result, "deployment": console.deployment(name)}
