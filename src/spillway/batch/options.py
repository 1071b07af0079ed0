"""How a run goes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from spillway.core.options import Deployment
from spillway.core.priority import Priority

DEFAULT_GIVE_UP_S = 1800.0


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a run goes; the names are those of the command line.

    Attributes:
        input: path of the input, `-` for standard input.
        deployment: overrides what lines name.
        retry_failed: with `resume`: take the error lines out and send them again.
        concurrency: lines under way at once, also for each deployment instead of its `serving.max_concurrent`.
        max_cost_usd: never spent more than, earlier processes of the run included.
        give_up_after_s: stop when nothing has succeeded for so long.
        limit: send the first so many lines only.
    """

    input: str
    output: Path
    deployment: str | None = None
    resume: bool = False
    retry_failed: bool = False
    ordered: bool = False
    concurrency: int | None = None
    max_cost_usd: float | None = None
    give_up_after_s: float = DEFAULT_GIVE_UP_S
    priority: Priority = Priority.NORMAL
    limit: int | None = None

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if self.retry_failed and not self.resume:
            raise ValueError("retry_failed goes with resume")

    def widen(self, deployment: Deployment) -> Deployment:
        """Return a deployment with room for all lines that may be under way at once."""
        if self.concurrency is None:
            return deployment
        serving = msgspec.structs.replace(deployment.serving, max_concurrent=self.concurrency)
        return msgspec.structs.replace(deployment, serving=serving)
