"""A store in plain Python: in one process for all of its Clusters, or behind whatever carries calls to it."""

from __future__ import annotations

from spillway.stores.commons.commons import Commons

__all__ = ["Commons"]
