"""Scenarios: faults by phase of time, path and probability, from a TOML file or from objects.

Whether a phase strikes a request is decided by a hash of the seed, the phase and the request's number, so a run with
the same order of arrivals has the same faults.
"""

from __future__ import annotations

import fnmatch
import hashlib
import math
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from spillway.sim.faults import Fault, FaultError, nearest, parse_fault

_KEYS = ("from_s", "to_s", "path", "p", "fault")


class ScenarioError(ValueError):
    """A scenario that can't be used; one line that names file, phase, key and the nearest valid name."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One fault for a span of time.

    Args:
        fault: The fault, as the `x-sim-fault` header would name it.
        from_s: Start, in seconds since the simulator started or was reset.
        to_s: End, exclusive.
        path: A prefix of the request path, or a glob when it holds `*`, `?` or `[`.
        p: The share of requests that it strikes, 0 to 1.
    """

    fault: str
    from_s: float = 0.0
    to_s: float = math.inf
    path: str = "*"
    p: float = 1.0

    def covers(self, at_s: float, path: str) -> bool:
        """Tell whether a request for `path` at `at_s` falls into this phase."""
        if not self.from_s <= at_s < self.to_s:
            return False
        if any(sign in self.path for sign in "*?["):
            return fnmatch.fnmatchcase(path, self.path)
        return path.startswith(self.path)


class Scenario:
    """Phases in order; the first that covers a request and strikes decides its fault.

    Raises:
        ScenarioError: A phase is not valid; `source` is the file that the message names.
    """

    def __init__(self, phases: tuple[Phase, ...] = (), *, source: str = "scenario") -> None:
        self.phases = phases
        self._faults = tuple(_check(phase, f"{source}: phase {at}") for at, phase in enumerate(phases, 1))

    @classmethod
    def from_file(cls, path: str | Path) -> Scenario:
        """Read the `[[phase]]` tables of a TOML file.

        Raises:
            ScenarioError: The file can't be read, is not TOML, or holds something that is not a valid phase.
        """
        try:
            with Path(path).open("rb") as file:
                table = tomllib.load(file)
        except OSError as error:
            raise ScenarioError(f"{path}: {error.strerror or error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ScenarioError(f"{path}: not TOML: {error}") from error
        return cls.from_table(table, source=str(path))

    @classmethod
    def from_table(cls, table: dict[str, Any], *, source: str = "scenario") -> Scenario:
        """Build a scenario from the parsed form of such a file; see `from_file`."""
        for key in table:
            if key != "phase":
                raise ScenarioError(f"{source}: unknown key {key!r} (nearest: 'phase')")
        phases = table.get("phase", [])
        if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
            raise ScenarioError(f"{source}: phase: must be tables, written [[phase]]")
        return cls(tuple(_phase(phase, f"{source}: phase {at}") for at, phase in enumerate(phases, 1)), source=source)

    def strike(self, seed: int, number: int, at_s: float, path: str) -> Fault | None:
        """Return the fault for the request with this number, if one strikes it."""
        for index, (phase, fault) in enumerate(zip(self.phases, self._faults, strict=True)):
            if phase.covers(at_s, path) and (phase.p >= 1.0 or _chance(seed, number, index) < phase.p):
                return fault
        return None


def _chance(seed: int, number: int, phase: int) -> float:
    digest = hashlib.blake2b(f"{seed}:{phase}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _phase(table: dict[str, Any], where: str) -> Phase:
    for key, value in table.items():
        if key not in _KEYS:
            raise ScenarioError(f"{where}: unknown key {key!r} (nearest: {nearest(key, _KEYS)!r})")
        wanted: tuple[type, ...] = (str,) if key in {"path", "fault"} else (int, float)
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a string" if str in wanted else "a number"
            raise ScenarioError(f"{where}: {key}: must be {kind}, not {value!r}")
    if "fault" not in table:
        raise ScenarioError(f"{where}: fault: is missing")
    return Phase(**table)


def _check(phase: Phase, where: str) -> Fault:
    if not 0.0 <= phase.p <= 1.0:
        raise ScenarioError(f"{where}: p: must be between 0 and 1, not {phase.p!r}")
    if not (math.isfinite(phase.from_s) and phase.from_s >= 0.0):
        raise ScenarioError(f"{where}: from_s: must be a number of seconds of at least 0, not {phase.from_s!r}")
    if not phase.to_s > phase.from_s:
        raise ScenarioError(f"{where}: to_s: must be later than from_s ({phase.from_s!r}), not {phase.to_s!r}")
    try:
        return parse_fault(phase.fault)
    except FaultError as error:
        raise ScenarioError(f"{where}: fault: {error}") from error
