"""From what a caller asks to the call that the engines bring to its answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spillway.core.errors import BadRequest
from spillway.core.priority import Priority
from spillway.remote.cost import input_bound, usd_to_pico
from spillway.remote.engine import Call

if TYPE_CHECKING:
    from spillway.core.request import GenerateRequest
    from spillway.runtime.routing import RouteTarget


def call_of(request: GenerateRequest, route: Sequence[RouteTarget], tenant: str, *, stream: bool = False) -> Call:
    """Return the call that a request is on its way as.

    Raises:
        BadRequest: a keyword of the request is wrong.
    """
    first = route[0].members[0]
    timeout_s = request.timeout_s
    if timeout_s is None:
        timeout_s = first.deployment.timeouts.total_timeout_s
    elif not _is_number(timeout_s) or not timeout_s > 0:
        raise BadRequest(f"timeout_s must be a number greater than 0, not {timeout_s!r}")
    if request.max_tokens is not None and not (type(request.max_tokens) is int and request.max_tokens >= 0):
        raise BadRequest(f"max_tokens must be a whole number, not negative, and not {request.max_tokens!r}")
    return Call(
        request,
        loop=first.loop,
        timers=first.alarms,
        timeout_s=timeout_s,
        input_bound=input_bound(request),
        stream=stream,
        priority=request.priority if type(request.priority) is Priority else _priority(request.priority),
        tenant=tenant,
        may_fall_back=request.fallback,
        max_cost_pico=None if request.max_cost_usd is None else _max_cost(request.max_cost_usd),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _priority(given: str | int) -> Priority:
    try:
        return Priority.parse(given) if isinstance(given, str) else Priority(given)
    except ValueError:
        known = ", ".join(each.name for each in Priority)
        raise BadRequest(f"priority must be one of {known}, not {given!r}") from None


def _max_cost(usd: float) -> int:
    if not _is_number(usd):
        raise BadRequest(f"max_cost_usd must be a number, not {usd!r}")
    try:
        return usd_to_pico(usd)
    except ValueError as error:
        raise BadRequest(f"max_cost_usd: {error}") from None
