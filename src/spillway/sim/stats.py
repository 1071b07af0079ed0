"""What the simulator has seen: counters, money, and the log of arrivals that tests check windows against.

Every request to a model route is one `Visit`, and ends once, as exactly one of: served (a full answer left), rejected
(a refusal or a filtered prompt), spoiled (an injected fault broke the answer), disconnected (the client left before
the end).
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import Any

import msgspec

from spillway.sim.prices import PICO_PER_USD

LOG_SIZE = 200_000
MOST_PROMPTS = 200_000
LONGEST_PROMPT = 512
MADE_UP_PREFIXES = ("sk-sim", "sim-", "sk-test", "test-")
LONGEST_MADE_UP = 15


def key_label(key: str) -> str:
    """Return how a key is shown: whole when it can't be a real one, else its last four characters.

    A key of under 16 characters, or one that begins with `sk-sim`, `sim-`, `sk-test` or `test-`, was made up for a
    simulator.
    """
    if not key:
        return "(none)"
    if len(key) <= LONGEST_MADE_UP or key.startswith(MADE_UP_PREFIXES):
        return key
    return f"…{key[-4:]}"


def prompt_label(prompt: str) -> str:
    """Return the name of a prompt in `by_prompt`: itself, or a long one's head and hash."""
    if len(prompt) <= LONGEST_PROMPT:
        return prompt
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{prompt[:LONGEST_PROMPT]}…{digest}"


class Tally(msgspec.Struct):
    """Counters of one key, one path, or everything."""

    asked: int = 0
    served: int = 0
    rejected: int = 0
    over_limit: int = 0
    spoiled: int = 0
    disconnected: int = 0
    billed_pico: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the counters, money in USD."""
        counts = msgspec.structs.asdict(self)
        counts["billed_usd"] = counts.pop("billed_pico") / PICO_PER_USD
        return counts


class Arrival(msgspec.Struct):
    """One line of the log; status 0 means no status was sent (yet)."""

    t: float
    key: str
    path: str
    status: int = 0
    tokens: int = 0


class Visit:
    """One request to a model route, from its arrival to its one outcome."""

    __slots__ = ("_ended", "_generation", "_stats", "_tallies", "arrival", "prompt")

    def __init__(self, stats: Stats, arrival: Arrival, tallies: tuple[Tally, ...]) -> None:
        self.arrival = arrival
        self.prompt: str | None = None
        self._stats = stats
        self._generation = stats.generation
        self._tallies = tallies
        self._ended = False

    def asks(self, prompt: str, tokens: int) -> None:
        """Note what the request turned out to ask."""
        self.arrival.tokens = tokens
        self.prompt = prompt_label(prompt)
        if self._generation == self._stats.generation:
            self._stats.count_prompt(self.prompt, 0)

    def end(self, outcome: str, *, status: int = 0, billed_pico: int = 0, over_limit: bool = False) -> None:
        """Count the outcome; only the first call counts.

        Args:
            outcome: `served`, `rejected`, `spoiled` or `disconnected`.
            status: The status that was sent, 0 for none.
            billed_pico: What it costs.
            over_limit: A real limit refused it.
        """
        if self._ended:
            return
        self._ended = True
        self.arrival.status = status
        for tally in self._tallies:
            setattr(tally, outcome, getattr(tally, outcome) + 1)
            tally.billed_pico += billed_pico
            tally.over_limit += over_limit
        if self._generation != self._stats.generation:
            return
        self._stats.by_status[str(status) if status else "none"] += 1
        if outcome == "served" and self.prompt is not None:
            self._stats.count_prompt(self.prompt, 1)

    @property
    def ended(self) -> bool:
        """Whether the outcome is counted."""
        return self._ended


class Stats:
    """All counters since the start or the last reset."""

    def __init__(self) -> None:
        self.generation = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything, the outcomes of visits under way included."""
        self.generation += 1
        self.total = Tally()
        self.by_key: dict[str, Tally] = {}
        self.by_path: dict[str, Tally] = {}
        self.by_status: Counter[str] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.by_prompt: dict[str, list[int]] = {}
        self.log: deque[Arrival] = deque(maxlen=LOG_SIZE)

    def begin(self, at_s: float, key: str, path: str) -> Visit:
        """Count an arrival."""
        label = key_label(key)
        tallies = (self.total, self.by_key.setdefault(label, Tally()), self.by_path.setdefault(path, Tally()))
        for tally in tallies:
            tally.asked += 1
        arrival = Arrival(at_s, label, path)
        self.log.append(arrival)
        return Visit(self, arrival, tallies)

    def count_prompt(self, prompt: str, column: int) -> None:
        """Add one to a prompt's asked (column 0) or served (1)."""
        row = self.by_prompt.get(prompt)
        if row is None:
            if len(self.by_prompt) >= MOST_PROMPTS:
                return
            row = self.by_prompt[prompt] = [0, 0]
        row[column] += 1

    def snapshot(self, *, prompts: bool = False, log: bool = False) -> dict[str, Any]:
        """Return the counters as JSON-ready values; prompts and the log of arrivals only on request."""
        total = self.total
        ended = total.served + total.rejected + total.spoiled + total.disconnected
        report: dict[str, Any] = {
            **total.as_dict(),
            "in_flight": total.asked - ended,
            "by_key": {key: tally.asked for key, tally in self.by_key.items()},
            "by_path": {path: tally.asked for path, tally in self.by_path.items()},
            "by_status": dict(self.by_status),
            "by_fault": dict(self.by_fault),
            "keys": {key: tally.as_dict() for key, tally in self.by_key.items()},
            "paths": {path: tally.as_dict() for path, tally in self.by_path.items()},
        }
        if prompts:
            report["by_prompt"] = {
                prompt: {"asked": asked, "served": served} for prompt, (asked, served) in self.by_prompt.items()
            }
        if log:
            report["log"] = [msgspec.structs.astuple(arrival) for arrival in self.log]
        return report
