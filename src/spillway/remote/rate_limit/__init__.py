"""The rate limiter: two hard windows a limit, permits that count until they are settled."""

from spillway.core.limit_store import AcquirePermit, DimensionSnapshot, LimitsSnapshot
from spillway.remote.rate_limit.actor import (
    GetLimits,
    NoteLimitsSeen,
    NoteThrottled,
    RateLimiterActor,
    RateLimiterMsg,
    SetLimits,
    StrictRateLimiterActor,
)
from spillway.remote.rate_limit.handle import RateLimiterHandle
from spillway.remote.rate_limit.machine import LimitMachine
from spillway.remote.rate_limit.permit import Permit

__all__ = [
    # what a request touches
    "AcquirePermit",
    "Permit",
    "RateLimiterHandle",
    # who owns the state
    "LimitMachine",
    "RateLimiterActor",
    "StrictRateLimiterActor",
    # what may be asked of the owner
    "GetLimits",
    "NoteLimitsSeen",
    "NoteThrottled",
    "RateLimiterMsg",
    "SetLimits",
    # state
    "DimensionSnapshot",
    "LimitsSnapshot",
]
