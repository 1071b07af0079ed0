"""The operator's routes: what there is, one of it, actions on it, a new reading of the project file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.errors import ConfigError
from spillway.gateway.admin.actions import ACTIONS, ActionFailed, act
from spillway.gateway.admin.bodies import Nothing, is_json, read
from spillway.gateway.heads import is_from_foreign_page
from spillway.gateway.refusals import Refusal
from spillway.runtime.config_errors import near, quoted

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note

DEPLOYMENTS = "/admin/deployments/"
_PRIVATE = {"cache-control": "no-store"}


async def refuse(exchange: Exchange, note: Note, refusal: Refusal) -> None:
    """Answer that it is not done."""
    note.refused(refusal)
    await exchange.answer_json(refusal.status, refusal.openai(), {**_PRIVATE, **refusal.headers})


async def keeps_out(exchange: Exchange, note: Note) -> bool:
    """Refuse what a web page of somebody else may have sent; returns whether it was refused."""
    if is_from_foreign_page(exchange.headers):
        refusal = Refusal(status=403, code="forbidden", message="web pages of other origins may not operate this")
    elif exchange.method not in {"GET", "HEAD"} and not is_json(exchange):
        refusal = Refusal(status=415, code="bad_request", message="content-type must be application/json")
    else:
        return False
    await refuse(exchange, note, refusal)
    return True


async def deployments(gateway: Gateway, _caller: None, exchange: Exchange, note: Note) -> None:
    """`GET /admin/deployments`: every deployment, every key, and the gateway."""
    if await keeps_out(exchange, note):
        return
    await exchange.answer_json(200, await gateway.console.seen(), _PRIVATE)


async def deployment(gateway: Gateway, _caller: None, exchange: Exchange, note: Note) -> None:
    """`GET /admin/deployments/{name}`, and `POST` of an action on it.

    A name may hold slashes: of a `GET` all that follows is the name, of a `POST` all but the last segment.
    """
    if await keeps_out(exchange, note):
        return
    console = gateway.console
    rest = exchange.path[len(DEPLOYMENTS) :]
    if exchange.method != "POST":
        await exchange.answer_json(200, await console.deployment_seen(rest), _PRIVATE)
        return
    name, _, action = rest.rpartition("/")
    if action not in ACTIONS:
        hint = near(action, ACTIONS) or f"known: {', '.join(ACTIONS)}"
        message = f"no action {quoted(action)} ({hint})"
        await refuse(exchange, note, Refusal(status=404, code="not_found", message=message))
        return
    console.follow()
    found = gateway.cluster.deployment(name)
    try:
        result = await act(console, name, action, found, exchange)
    except ActionFailed as error:
        await refuse(exchange, note, Refusal(status=502, code="action_failed", message=str(error)))
        return
    await exchange.answer_json(200, result, _PRIVATE)


async def reload(gateway: Gateway, _caller: None, exchange: Exchange, note: Note) -> None:
    """`POST /admin/reload`: read the project file again; a bad one changes nothing and says why."""
    if await keeps_out(exchange, note):
        return
    await read(exchange, Nothing)
    console = gateway.console
    who = exchange.peer or "unknown"
    if gateway.reloader is None:
        message = "this gateway was not made from a project file, so there is none to read again"
        await refuse(exchange, note, Refusal(status=501, code="not_reloadable", message=message))
        return
    try:
        result = await gateway.reloader()
    except ConfigError as error:
        console.journal.did(who, "", "reload", str(error))
        message = f"{error}; the old configuration stays"
        await refuse(exchange, note, Refusal(status=400, code="bad_config", message=message))
        return
    told: dict[str, Any] = {} if result is None else {"result": result}
    did = "configuration read again"
    if console.fellows is not None:
        from spillway.gateway.together.orders import RELOAD, Order  # noqa: PLC0415 - it knows what is done here

        done = await console.fellows.order(Order(action=RELOAD, who=who))
        if done.failed:
            said = "; ".join(done.failed)
            console.journal.did(who, "", "reload", said)
            message = f"{said}; everywhere else it was read"
            await refuse(exchange, note, Refusal(status=502, code="action_failed", message=message))
            return
        did += done.words()
        told["workers"] = {"asked": len(done.outcomes) + done.silent + 1, "silent": done.silent}
    console.journal.did(who, "", did)
    console.changed()
    await exchange.answer_json(200, {"did": did, **told}, _PRIVATE)
