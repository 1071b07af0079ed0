"""The page of a drill: what was promised, what was measured, and the curves that show it."""

from spillway.drill.report.page import write_report

__all__ = ["write_report"]
