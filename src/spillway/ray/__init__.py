"""Spillway on a Ray cluster (extra `ray`): batches over many processes, a stage of Ray Data, actors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.lazy import exporter

if TYPE_CHECKING:
    from spillway.ray.actors import RemoteActor, spawn
    from spillway.ray.commons import RayStore, start_commons
    from spillway.ray.connection import connected
    from spillway.ray.dataset import Deployment
    from spillway.ray.engine_actor import EngineActor
    from spillway.ray.pool import WorkerPool

__all__ = [
    # a stage of Ray Data
    "Deployment",
    # batches over many processes
    "WorkerPool",
    "connected",
    # what processes share without a Redis
    "RayStore",
    "start_commons",
    # actors
    "EngineActor",
    "RemoteActor",
    "spawn",
]

__getattr__ = exporter(
    __name__,
    {
        "spillway.ray.actors": ("RemoteActor", "spawn"),
        "spillway.ray.commons": ("RayStore", "start_commons"),
        "spillway.ray.connection": ("connected",),
        "spillway.ray.dataset": ("Deployment",),
        "spillway.ray.engine_actor": ("EngineActor",),
        "spillway.ray.pool": ("WorkerPool",),
    },
)
