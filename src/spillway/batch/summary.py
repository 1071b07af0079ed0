"""What a run came to."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from spillway.runtime.metrics import DeploymentMetrics


class Ending(StrEnum):
    """Why a run ended."""

    THROUGH = "through"
    GAVE_UP = "gave_up"
    MAX_COST = "max_cost"
    DISK = "disk"
    INTERRUPTED = "interrupted"
    TERMINATED = "terminated"


_EXIT = {
    Ending.GAVE_UP: 3,
    Ending.MAX_COST: 3,
    Ending.DISK: 3,
    Ending.INTERRUPTED: 130,
    Ending.TERMINATED: 143,
}


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run came to; counts of lines include those that earlier processes wrote.

    Attributes:
        ending: why it ended.
        message: that in one line, empty when it is through.
        lines: lines to be answered, blank ones left out.
        ok: answered.
        failed: error lines.
        errors: these by code.
        unwritten: lines that are not on file; `ok + failed + unwritten == lines`.
        written_now: lines that this process wrote.
        cost_usd: of all processes; what was in flight when one was killed counts as reserved.
        cost_known: whether every deployment that was asked has a price.
        elapsed_s: of this process.
        deployments: counters of this process.
    """

    ending: Ending
    message: str
    input: str
    output: str
    lines: int
    ok: int
    failed: int
    errors: dict[str, int]
    unwritten: int
    written_now: int
    attempts: int
    retried: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    cost_known: bool
    elapsed_s: float
    deployments: dict[str, DeploymentMetrics]

    @property
    def exit_code(self) -> int:
        """What the process exits with."""
        return _EXIT.get(self.ending, 1 if self.failed else 0)
