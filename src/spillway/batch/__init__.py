"""Files in, files out: `spillway run` as a library."""

from spillway.batch.files import FileTroubleError
from spillway.batch.run import DEFAULT_GIVE_UP_S, Run, RunOptions
from spillway.batch.summary import Ending, RunSummary

__all__ = [
    "DEFAULT_GIVE_UP_S",
    "Ending",
    "FileTroubleError",
    "Run",
    "RunOptions",
    "RunSummary",
]
