"""What an operator asks of one gateway, as it is told to all others, and what each of them says to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.errors import BadRequest, ConfigError, ModelNotFound
from spillway.gateway.admin.actions import ACTIONS, REBUILD_S, ActionFailed, carry_out
from spillway.gateway.admin.bodies import BreakerAsk, DrainAsk, LimitsAsk
from spillway.gateway.doors.spending import spending

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway

RELOAD, COSTS = "reload", "costs"

PATIENCE_S = 5.0
"""How long the others may take for what is done at once."""

SLOW_PATIENCE_S = REBUILD_S + PATIENCE_S
"""Likewise, for what reads a secret or a file."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be done, or to be told.

    Attributes:
        action: one of `ACTIONS`, `reload` or `costs`.
        ask: the body of the request, as it was understood.
        who: the operator's address.
    """

    action: str
    deployment: str = ""
    ask: dict[str, Any] = {}
    who: str = ""

    @property
    def within_s(self) -> float:
        """How long it may take."""
        return SLOW_PATIENCE_S if self.action in {"rebuild-session", RELOAD} else PATIENCE_S

    @property
    def stands(self) -> str:
        """What it is remembered by for gateways that begin later; empty: they need not know."""
        return f"{self.action} {self.deployment}" if self.action in {"breaker", "drain", "limits"} else ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway says to an order.

    Attributes:
        failed: why it could not be done; None: it was.
        told: what it came to.
    """

    worker: str
    failed: str | None = None
    told: dict[str, Any] = {}


async def obey(gateway: Gateway, order: Order, worker: str, *, age_s: float, stood: bool) -> Outcome:
    """Do what an operator has asked of another gateway.

    Args:
        age_s: since it was asked; what was asked for so long lasts for as much less.
        stood: it was asked before this gateway began.
    """
    try:
        if order.action == COSTS:
            found = await spending(gateway, order.ask["by"], order.ask["since"])
            if found.file == order.ask["file"]:
                return Outcome(worker=worker)
            return Outcome(worker=worker, told={"file": found.file, "rows": found.rows})
        if order.action == RELOAD:
            if gateway.reloader is None:
                return Outcome(worker=worker, failed="it was not made from a project file")
            return Outcome(worker=worker, told={"result": msgspec.to_builtins(await gateway.reloader())})
        ask = _since(msgspec.convert(order.ask, ACTIONS[order.action].body), age_s, stood=stood)
        if ask is None:
            return Outcome(worker=worker)
        console = gateway.console
        console.follow()
        found_deployment = gateway.cluster.deployment(order.deployment)
        told = await carry_out(console, order.action, found_deployment, ask, who=order.who, here=False)
        return Outcome(worker=worker, told=told)
    except (ActionFailed, BadRequest, ModelNotFound, ConfigError) as error:
        return Outcome(worker=worker, failed=str(error))
    except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
        return Outcome(worker=worker, failed=f"it failed: {type(error).__name__}")


def _since(ask: msgspec.Struct, age_s: float, *, stood: bool) -> msgspec.Struct | None:
    """Return what is left of an ask after so long, None when that is nothing."""
    if not stood:
        return ask
    ends = isinstance(ask, (BreakerAsk, LimitsAsk)) and ask.for_s is not None
    if ends:
        left_s = ask.for_s - age_s  # type: ignore[attr-defined] # one of the two
        return None if left_s <= 0 else msgspec.structs.replace(ask, for_s=left_s)
    if isinstance(ask, BreakerAsk) or (isinstance(ask, (DrainAsk, LimitsAsk)) and ask.action in {"resume", "reset"}):
        # A circuit that was closed to be judged anew; what is in service, or as the file has it, at a start anyway.
        return None
    return ask
