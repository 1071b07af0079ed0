"""How large a drill is."""

from __future__ import annotations

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a drill is made of; times in seconds.

    Attributes:
        nodes: gateways, or batch processes.
        window_s: the length of the "minute" that limits are over.
        sync_s: between two syncs of limits that are kept together by telling.
        silent_s: after so much silence a node is taken for dead; no fault of a node that is not killed lasts as long.
        limit: requests in such a window, of all nodes together.
        steady_windows: windows without a fault, in which the use of the limit is measured.
        faults_s: how long faults come and go after that.
        faults: how many of them.
        pause_s: the longest a node is stopped for.
        kills: processes killed in the middle of a batch.
        lines: of each batch process's input.
        asks: requests that meet a budget.
    """

    nodes: int = 4
    window_s: float
    sync_s: float
    silent_s: float
    limit: int
    steady_windows: int
    faults_s: float
    faults: int
    pause_s: float
    kills: int = 20
    lines: int
    asks: int

    @property
    def lease_s(self) -> float:
        """How long what a node has leased of an exact limit is good without news of the store."""
        return min(1.0, self.silent_s / 5)

    @property
    def closed_s(self) -> float:
        """How long an exact limit stays closed, at most, over a store that may have forgotten something.

        Until every node that the forgotten store knew has noticed, and what they sent has left the window.
        """
        return self.window_s + self.silent_s + self.lease_s


SMALL = Size(
    window_s=2.0,
    sync_s=0.1,
    silent_s=2.0,
    limit=300,
    steady_windows=2,
    faults_s=7.0,
    faults=4,
    pause_s=1.5,
    lines=120,
    asks=600,
)
FULL = Size(
    window_s=60.0,
    sync_s=1.0,
    silent_s=15.0,
    limit=6000,
    steady_windows=3,
    faults_s=360.0,
    faults=16,
    pause_s=14.0,
    lines=3000,
    asks=6000,
)
SIZES = {"small": SMALL, "full": FULL}
