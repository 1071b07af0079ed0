"""What a scenario is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from spillway.drill.found import Found
from spillway.drill.plan import Fault
from spillway.drill.sizes import Size
from spillway.drill.stage import Setting


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One of the drill's scenarios.

    Attributes:
        name: as it is chosen.
        says: what it does, in a sentence.
        plan: what goes wrong, from the seed and the size; pure.
        play: does it and measures.
    """

    name: str
    says: str
    plan: Callable[[int, Size], Sequence[Fault]]
    play: Callable[[Setting, Sequence[Fault]], Awaitable[Found]]
