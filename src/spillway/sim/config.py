"""What a simulator is set to."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spillway.sim.limits import LimitSpec
from spillway.sim.scenario import Scenario

DEFAULT_LATENCY_S = 0.02
"""The latency that the command line uses; the Python API starts at none."""


class SimConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a simulator.

    Args:
        seed: Decides every answer and every throw of a scenario's dice.
        latency_s: Wait before an answer, or before a stream's first byte.
        chunk_delay_s: Wait before each later content chunk of a stream.
        limits: Rate limits by key; `*` for every key without its own.
        scenario: Faults by time, path and probability.
        valid_keys: The keys that are accepted, None for any that is not empty.
        prices: USD per million input and output tokens by model, before the built-in table.
        token_lifetime_s: How long the access tokens that it hands out for Vertex are good.
        max_body_bytes: The largest request body; beyond it the answer is 413.
    """

    seed: int = 0
    latency_s: float = 0.0
    chunk_delay_s: float = 0.0
    limits: tuple[LimitSpec, ...] = ()
    scenario: Scenario = msgspec.field(default_factory=Scenario)
    valid_keys: frozenset[str] | None = None
    prices: Mapping[str, tuple[float, float]] = {}
    token_lifetime_s: float = 3599.0
    max_body_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        """Check the times."""
        if not (self.latency_s >= 0 and self.chunk_delay_s >= 0):
            raise ValueError("latency_s and chunk_delay_s must be at least 0")
        if not self.token_lifetime_s > 0:
            raise ValueError("token_lifetime_s must be above 0")
