"""The loop that serves, and how it keeps time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.alarms import Alarms
from spillway.core.clock import clock_of

if TYPE_CHECKING:
    import asyncio

_SOON_SPAN_S = 0.02
_LATE_SPAN_S = 0.5


class Timing:
    """What every exchange on one loop keeps time with.

    Attributes:
        loop: the one that serves.
        clock: its seconds.
        soon: for what is due within a second.
        late: for what is due after many.
    """

    __slots__ = ("clock", "late", "loop", "soon")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.clock = clock_of(loop)
        self.soon = Alarms(loop, _SOON_SPAN_S)
        self.late = Alarms(loop, _LATE_SPAN_S)

    def __repr__(self) -> str:
        return f"<Timing {self.soon!r} {self.late!r}>"
