"""The provider simulator: every dialect on one loopback port, with rate limits and faults.

It speaks OpenAI, Azure, Anthropic, Gemini, Vertex and LiteLLM, and shares no code with the clients that it judges.
`Simulator` runs it inside a program or a test, `run_forever` as a process.
"""

from __future__ import annotations

from spillway.sim.config import DEFAULT_LATENCY_S, SimConfig
from spillway.sim.faults import KINDS as FAULTS
from spillway.sim.faults import Fault, FaultError, parse_fault
from spillway.sim.limits import LimitError, LimitSpec, Verdict, WindowJudge, parse_limit
from spillway.sim.scenario import Phase, Scenario, ScenarioError
from spillway.sim.server import Simulator
from spillway.sim.service import run_forever

__all__ = [
    "DEFAULT_LATENCY_S",
    "FAULTS",
    "Fault",
    "FaultError",
    "LimitError",
    "LimitSpec",
    "Phase",
    "Scenario",
    "ScenarioError",
    "SimConfig",
    "Simulator",
    "Verdict",
    "WindowJudge",
    "parse_fault",
    "parse_limit",
    "run_forever",
]
