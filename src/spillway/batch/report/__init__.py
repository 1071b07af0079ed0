"""The page of `spillway run --report`: what is recorded on the way, and how it is drawn."""

from spillway.batch.report.page import write_report
from spillway.batch.report.recorder import Recorder

__all__ = [
    "Recorder",
    "write_report",
]
