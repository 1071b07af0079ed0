"""Files in, files out: `spillway run` as a library."""

from spillway.batch.files import FileTroubleError
from spillway.batch.options import DEFAULT_GIVE_UP_S, RunOptions
from spillway.batch.run import Run
from spillway.batch.summary import Ending, RunSummary

__all__ = [
    "DEFAULT_GIVE_UP_S",
    "Ending",
    "FileTroubleError",
    "Run",
    "RunOptions",
    "RunSummary",
]
