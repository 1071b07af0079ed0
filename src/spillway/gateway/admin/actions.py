"""What an operator can do to a deployment; each action is noted in the journal, done or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from spillway.core.errors import ConfigError, InferenceError
from spillway.gateway.admin.bodies import DEFAULT_OPEN_S, BreakerAsk, DrainAsk, LimitsAsk, Nothing, read

if TYPE_CHECKING:
    from spillway.gateway.admin.console import Console
    from spillway.gateway.exchange import Exchange
    from spillway.runtime.deployed import Deployed

REBUILD_S = 60.0
"""How long a rebuild may read its secret."""


class ActionFailed(Exception):
    """It was tried and did not work; one line that says why, without a secret."""


async def breaker(_console: Console, found: Deployed, ask: BreakerAsk) -> dict[str, Any]:
    """Force the circuit open or closed."""
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


async def rebuild_session(_console: Console, found: Deployed, _ask: Nothing) -> dict[str, Any]:
    """Read the secret again and build new clients; what is in flight keeps the old ones."""
    try:
        async with asyncio.timeout(REBUILD_S):
            await found.rebuild_session()
    except TimeoutError:
        raise ActionFailed(f"the secret was not read within {REBUILD_S:g} s; the old session stays") from None
    except (InferenceError, ConfigError) as error:
        raise ActionFailed(f"{error}; the old session stays") from error
    return {"did": "secret read again, session rebuilt"}


async def drain(_console: Console, found: Deployed, ask: DrainAsk) -> dict[str, Any]:
    """Take it out of service, or put it back."""
    if ask.action == "resume":
        found.resume()
        return {"did": "put back into service"}
    running = found.metrics().busy
    found.pause()
    return {"did": "taken out of service", "in_flight": running}


async def limits(console: Console, found: Deployed, ask: LimitsAsk) -> dict[str, Any]:
    """Have other limits for a time, or those of the file again."""
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


class Action(NamedTuple):
    """What is done, and what a request for it says."""

    body: type[msgspec.Struct]
    do: Callable[[Console, Deployed, Any], Awaitable[dict[str, Any]]]


ACTIONS: dict[str, Action] = {
    "breaker": Action(BreakerAsk, breaker),
    "rebuild-session": Action(Nothing, rebuild_session),
    "drain": Action(DrainAsk, drain),
    "limits": Action(LimitsAsk, limits),
}
"""By the last segment of the path."""


async def act(console: Console, name: str, action: str, found: Deployed, exchange: Exchange) -> dict[str, Any]:
    """Do one action, here and at all gateways that answer as one with this, and return what was done.

    Returns:
        What was done, with the state after it.

    Raises:
        BadRequest: the body is not one of this action.
        ActionFailed: it did not work; where it did not work here, nobody else was asked.
    """
    who = exchange.peer or "unknown"
    ask = await read(exchange, ACTIONS[action].body)
    result = await carry_out(console, action, found, ask, who=who)
    silent = ""
    if console.fellows is not None:
        from spillway.gateway.together.orders import Order  # noqa: PLC0415 - it knows what is done here

        order = Order(action=action, deployment=name, ask=msgspec.to_builtins(ask), who=who)
        done = await console.fellows.order(order)
        if done.failed:
            said = "; ".join(done.failed)
            console.journal.did(who, name, action.replace("-", " "), said)
            raise ActionFailed(f"{said}; everywhere else it was done")
        if "in_flight" in result:
            result["in_flight"] += sum(one.told.get("in_flight", 0) for one in done.outcomes)
        silent = done.words()
        result["workers"] = {"asked": len(done.outcomes) + done.silent + 1, "silent": done.silent}
    finish = f"; {result['in_flight']} in flight will finish" if "in_flight" in result else ""
    result["did"] += finish + silent
    console.journal.did(who, name, result["did"])
    return {**result, "deployment": await console.deployment_seen(name)}


async def carry_out(
    console: Console, action: str, found: Deployed, ask: msgspec.Struct, *, who: str, here: bool = True
) -> dict[str, Any]:
    """Do one action in this process and return what was done.

    Args:
        here: an operator has asked this process for it, in whose journal it stands if it fails.

    Raises:
        ActionFailed: it did not work.
    """
    try:
        result = await ACTIONS[action].do(console, found, ask)
    except ActionFailed as error:
        if here:
            console.journal.did(who, found.name, action.replace("-", " "), str(error))
        raise
    console.changed()
    return result
