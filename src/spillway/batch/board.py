"""Watches every attempt: who was served when, what failed on behalf of which line, what it all came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar

from spillway.batch.chronicle import Chronicle
from spillway.batch.lane import Item
from spillway.batch.verdict import counts
from spillway.remote.engine.metrics import AttemptRecord, RequestRecord

under_way: ContextVar[Item | None] = ContextVar("under_way", default=None)
"""The line that the present task is sending."""


class Board:
    """An observer of the run's Cluster.

    Args:
        on_failure: told the number of a line when an attempt of it failed in a way that counts.

    """

    def __init__(self, on_failure: Callable[[int], None]) -> None:
        self.chronicle = Chronicle()
        self.attempts = 0
        self.retried = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.fell_back: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self._on_failure = on_failure

    def on_attempt(self, record: AttemptRecord) -> None:
        """Take in one attempt."""
        self.attempts += 1
        ended = record.at
        begun = ended - record.elapsed_s
        if record.outcome == "ok":
            self.chronicle.answered(record.deployment, begun, ended)
        elif counts(record.outcome):
            self.chronicle.failed(record.deployment, ended)
        if record.usage is not None:
            self.input_tokens += record.usage.input_tokens
            self.output_tokens += record.usage.output_tokens
        item = under_way.get()
        if item is None:
            return
        failures = item.failures
        self.retried += failures.attempts > 0
        if failures.sent(record.outcome, begun, ended):
            self._on_failure(item.number)

    def on_request(self, record: RequestRecord) -> None:
        """Take in one request."""
        if record.outcome == "ok":
            self.answered[record.deployment] += 1
            self.fell_back[record.deployment] += record.fell_back

    def __repr__(self) -> str:
        return f"<Board {self.attempts} attempts, {self.retried} of them repeated>"
