"""What all gateways together look like, from what each of them publishes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spillway.gateway.admin.history import BUCKET_S, BUCKETS, Bucket, summed
from spillway.gateway.admin.picture import LIMITS
from spillway.gateway.together.merging import total
from spillway.gateway.together.published import BETWEEN, NANO, readings_of
from spillway.gateway.together.rules import LEFT_BEHIND, READINGS, STATE, tracks_together
from spillway.telemetry.catalog import ENGINES, GATEWAY

if TYPE_CHECKING:
    from spillway.telemetry.readings import Reading

_SAME_S = 3.0
"""Seconds between two entries of journals that tell of the same."""

_BY_THEMSELVES = frozenset({"circuit", "timer"})
_WINDOWS = (*LIMITS.values(), "concurrent_requests")
_STATES = ("open", "half_open", "closed")
_UNSHOWN = frozenset({"usage_rows", "cached_tokens", "spent_usd"})

Pieces = Mapping[str, Any]


def left_by(pieces: Pieces) -> dict[str, Any]:
    """Return what stays of a gateway that is no more."""
    left = {name: pieces[name] for name in LEFT_BEHIND if name in pieces}
    tracks = tracks_together(pieces.get("tracks"), pieces.get("newest_tracks"))
    return left if tracks is None else {**left, "tracks": tracks}


def together(parts: Iterable[Pieces]) -> dict[str, Any]:
    """Return the pieces of several gateways as those of one."""
    whole: dict[str, Any] = {}
    for part in parts:
        whole = STATE(whole, dict(part))
    return whole


class SeenTogether:
    """All gateways at an instant.

    Args:
        own: what the gateway that is asked says itself: the order of things is its own.
        alive: what each of the others publishes.
        dead: what is left of those that are no more.
        at: seconds since 1970.
        silent: workers that have not been heard of for some seconds, and for how many.
    """

    def __init__(
        self,
        own: Pieces,
        alive: Iterable[Pieces],
        dead: Iterable[Pieces],
        *,
        at: float,
        silent: Mapping[str, float],
    ) -> None:
        self._own = own
        self._at = at
        self._silent = silent
        self._whole = together([own, *alive, *map(left_by, dead)])
        tracks = tracks_together(self._whole.get("tracks"), self._whole.get("newest_tracks"))
        self._tracks = tracks or {"whole": [], "by_deployment": {}}

    @property
    def workers(self) -> list[dict[str, Any]]:
        """Return every gateway that lives, by name."""
        rows = sorted(self._whole["now"]["workers"], key=lambda row: str(row["worker"]))
        return [{**row, "silent_s": round(self._silent.get(row["worker"], 0.0), 3)} for row in rows]

    def state(self, *, demo: Any = None) -> dict[str, Any]:
        """Return everything, as `Console.state` does of one gateway."""
        now = self._whole["now"]
        return {
            "at": round(self._at, 3),
            "gateway": {
                **now["gateway"],
                "demo": demo,
                "last_15_min": self._summary(self._tracks["whole"]),
                "workers": self.workers,
            },
            "deployments": [self._deployment(row) for row in self._in_order("deployments")],
            "keys": [_windows_in_order(row) for row in self._in_order("keys")],
        }

    def deployment(self, name: str) -> dict[str, Any]:
        """Return one deployment, as `Console.deployment` does.

        Raises:
            KeyError: there is none of that name.
        """
        return next(self._deployment(row) for row in self._whole["now"]["deployments"] if row["name"] == name)

    def since_start(self) -> dict[str, dict[str, Any]]:
        """Return what each deployment has counted, those that are no more included."""
        found: dict[str, dict[str, Any]] = self._whole["counts"]["since_start"]
        return found

    def readings(self) -> list[Reading]:
        """Return all metrics."""
        now = self._whole["now"]
        rows = READINGS(now["gauges"], self._whole["counts"]["readings"])
        _only_the_worst(rows.get("spillway_breaker_state", {}))
        return readings_of(rows, (*GATEWAY, *ENGINES))

    def process(self) -> dict[str, float]:
        """Return what the system tells of all processes together."""
        counted = {name: value / NANO for name, value in self._whole["counts"]["process"].items()}
        return {**self._whole["now"]["process"], **counted}

    def requests(self) -> list[dict[str, Any]]:
        """Return the last requests, the oldest first; `worker` and `number` tell them apart."""
        return list(self._whole.get("requests") or [])

    def journal(self) -> list[dict[str, Any]]:
        """Return the last entries of all journals, the oldest first; what all say of themselves is said once."""
        told: list[dict[str, Any]] = []
        for entry in self._whole.get("journal") or []:
            if not any(_is_same(entry, before) for before in told):
                told.append(entry)
        return told

    def history(self, *, buckets: int = BUCKETS) -> dict[str, Any]:
        """Return the newest buckets of every track, as `History.values` does."""
        first = int(self._at // BUCKET_S) - buckets + 1

        def values(track: Sequence[Pieces]) -> list[dict[str, Any]]:
            return [Bucket.from_facts(facts).values() for facts in track if facts["number"] >= first]

        return {
            "bucket_s": BUCKET_S,
            "buckets": BUCKETS,
            "epoch": 0.0,
            "whole": values(self._tracks["whole"]),
            "by_deployment": {name: values(track) for name, track in self._tracks["by_deployment"].items()},
        }

    def _deployment(self, row: dict[str, Any]) -> dict[str, Any]:
        counted = self.since_start().get(row["name"], {})
        track = self._tracks["by_deployment"].get(row["name"])
        return {
            **_windows_in_order(row),
            "spent_usd": counted.get("spent_usd", row["spent_usd"]),
            "since_start": {name: value for name, value in counted.items() if name not in _UNSHOWN},
            "last_15_min": None if track is None else self._summary(track),
        }

    def _summary(self, track: Sequence[Pieces]) -> dict[str, Any]:
        first = int(self._at // BUCKET_S) - BUCKETS + 1
        return summed(Bucket.from_facts(facts) for facts in track if facts["number"] >= first)

    def _in_order(self, kind: str) -> list[dict[str, Any]]:
        """Return rows in our own order; what only others have comes last."""
        order = [row["name"] for row in self._own["now"][kind]]
        rows = self._whole["now"][kind]
        return sorted(rows, key=lambda row: order.index(row["name"]) if row["name"] in order else len(order))


def _windows_in_order(row: dict[str, Any]) -> dict[str, Any]:
    """Return a deployment or key with its windows as one gateway has them."""
    limits, budget = row["limits"], row["budget"]
    if isinstance(limits, dict):
        limits = {**limits, "windows": sorted(limits["windows"], key=lambda one: _WINDOWS.index(one["limit"]))}
    else:
        limits = sorted(limits, key=lambda one: _WINDOWS.index(one["limit"]))
    if budget is not None:
        order = ("hour", "day", "month")
        windows = sorted(budget["windows"], key=lambda one: order.index(one["per"]) if one["per"] in order else 3)
        budget = {**budget, "windows": windows}
    return {**row, "limits": limits, "budget": budget}


def _only_the_worst(states: dict[str, Any]) -> None:
    """Have a circuit in one state: where one process has not followed another yet, in the worse of the two."""
    circuits = {labels.rpartition(BETWEEN)[0] for labels, value in states.items() if value}
    for circuit in circuits:
        found = [state for state in _STATES if states.get(f"{circuit}{BETWEEN}{state}")]
        for state in found[1:]:
            states[f"{circuit}{BETWEEN}{state}"] = 0


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (
        one["who"] in _BY_THEMSELVES
        and all(one[name] == other[name] for name in ("who", "deployment", "what"))
        and one["worker"] != other["worker"]
        and abs(one["at"] - other["at"]) < _SAME_S
    )


def added_up(parts: Iterable[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    """Return rows of several lists, those with the same `key` added up, in its order."""
    found: dict[str, Any] = {}
    for row in parts:
        numbers = {name: value for name, value in row.items() if name != key}
        found[row[key]] = total(found.get(row[key]), numbers)
    return [{key: name, **found[name]} for name in sorted(found)]
