"""What a provider's response headers say of its limits, in one shape for all providers."""

from __future__ import annotations

import msgspec


class LimitSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One dimension as a provider reported it; a field is None when it did not say.

    Attributes:
        limit: the provider's own limit per minute.
        remaining: what it would still take now.
        reset_s: seconds from the answer until the dimension is full again.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


class LimitsSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer's headers told of the provider's limits."""

    requests: LimitSeen | None = None
    tokens: LimitSeen | None = None
    input_tokens: LimitSeen | None = None
    output_tokens: LimitSeen | None = None
