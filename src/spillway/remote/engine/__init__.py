"""The engine of a deployment: queue, slots and dispatch, and what a request carries through them."""

from spillway.remote.engine.actor import AddRequest, Drain, EngineMsg, RemoteEngineConfig, RemoteEngineCoreActor, Resize
from spillway.remote.engine.call import Call, SpendGate, SpendHold
from spillway.remote.engine.core import Engine
from spillway.remote.engine.gates import Gates
from spillway.remote.engine.metrics import AttemptRecord, EngineMetrics, Histogram, Observer, RequestRecord
from spillway.remote.engine.slot import WorkerSlot
from spillway.remote.engine.stream import LiveStream

__all__ = [
    # the actor and its messages
    "AddRequest",
    "Drain",
    "EngineMsg",
    "RemoteEngineConfig",
    "RemoteEngineCoreActor",
    "Resize",
    # the engine itself
    "Call",
    "Engine",
    "Gates",
    "LiveStream",
    "WorkerSlot",
    # a caller's own cap
    "SpendGate",
    "SpendHold",
    # what it counts
    "AttemptRecord",
    "EngineMetrics",
    "Histogram",
    "Observer",
    "RequestRecord",
]
