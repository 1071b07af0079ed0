"""Several processes that serve as one: a parent that answers nobody, and the workers that it starts and signals."""

from spillway.gateway.workers.line import Errand, Line, said_by
from spillway.gateway.workers.parent import Parent

__all__ = ["Errand", "Line", "Parent", "said_by"]
