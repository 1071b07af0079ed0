"""The simulator as a process, asked over HTTP what arrived."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from spillway.drill.processes import DrillError, Program

_FIRST_LINE = "spillway sim listening on "
_STARTS_WITHIN_S = 30.0


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """A line of the simulator's log; `t` is seconds since its last reset, by the machine's monotonic clock."""

    t: float
    key: str
    path: str
    status: int
    tokens: int


class _Told(msgspec.Struct, frozen=True):
    billed_usd: float
    asked: int
    served: int
    log: list[Arrival]
    by_prompt: dict[str, Any] = {}


class Provider:
    """A simulator that judges nothing itself and writes everything down.

    Args:
        seed: decides its answers.
        latency_s: before each.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], *, seed: int, latency_s: float) -> None:
        argv = [
            sys.executable,
            "-m",
            "spillway",
            "sim",
            "--port",
            "0",
            "--seed",
            str(seed),
            "--latency-s",
            f"{latency_s:g}",
        ]
        # What it writes down is the measure of all: it comes before the nodes where the machine is short of time.
        self._program = Program("the simulator", argv, folder / "sim.log", environ=environ, priority=-15)
        self.url = ""

    async def start(self) -> None:
        """Start it and learn where it listens."""
        self._program.start()
        self.url = await self._program.says(_FIRST_LINE, _STARTS_WITHIN_S)

    async def reset(self, session: aiohttp.ClientSession) -> None:
        """Have it forget everything and begin its time anew."""
        await self._ask(session.post(f"{self.url}/sim/reset"))

    async def misbehave(self, session: aiohttp.ClientSession, phases: list[dict[str, Any]]) -> None:
        """Have it inject these phases' faults from now on; none: it does nothing wrong."""
        await self._ask(session.post(f"{self.url}/sim/scenario", json={"phase": phases}))

    async def told(self, session: aiohttp.ClientSession) -> _Told:
        """Return everything that it has written down."""
        raw = await self._ask(session.get(f"{self.url}/sim/stats", params={"log": "1", "prompts": "1"}))
        return msgspec.json.decode(raw, type=_Told)

    async def stop(self) -> None:
        """End it."""
        await self._program.stop()

    async def _ask(self, request: Any) -> bytes:
        try:
            async with request as response:
                raw: bytes = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DrillError(f"the simulator does not answer: {error or type(error).__name__}") from error
        if response.status != 200:
            raise DrillError(f"the simulator answered {response.status}: {raw[:200]!r}")
        return raw
