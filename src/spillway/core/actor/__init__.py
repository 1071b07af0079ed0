"""Actors: each owns state and a mailbox, handles one message at a time, and is supervised by its parent.

What a request touches is never an actor but a synchronous handle; actors configure, supervise and own shared state.
"""

from spillway.core.actor.actor import Actor, ActorContext, ActorRef, RestartPolicy
from spillway.core.actor.system import ActorSystem

__all__ = [
    # to write one
    "Actor",
    "ActorContext",
    "RestartPolicy",
    # to run and use one
    "ActorRef",
    "ActorSystem",
]
