"""What a door is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note


@dataclass(frozen=True, slots=True)
class Door:
    """One route.

    Attributes:
        name: what records and metrics call it.
        serve: answers one exchange; the caller is None at a door that is not for callers.
        methods: that it takes, the usual one first.
        access: whose it is: a `caller` with a gateway key, the `operator` with the admin key, or `open` to all.
    """

    name: str
    serve: Callable[[Gateway, Any, Exchange, Note], Awaitable[None]]
    methods: tuple[str, ...] = ("POST",)
    access: Literal["caller", "operator", "open"] = "caller"
