"""The queue of one deployment."""

from __future__ import annotations

from spillway.core.priority import Priority
from spillway.remote.queue.queue import RequestQueue
from spillway.remote.queue.request import PriorityRequest

__all__ = ["Priority", "PriorityRequest", "RequestQueue"]
