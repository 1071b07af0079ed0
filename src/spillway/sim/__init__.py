"""The provider simulator: every dialect on one loopback port, with rate limits and faults.

It speaks OpenAI, Azure, Anthropic, Gemini, Vertex and LiteLLM, and shares no code with the clients that it judges.
`Simulator` runs it inside a program or a test, `run_forever` as a process.
"""

from __future__ import annotations

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask
from spillway.sim.config import DEFAULT_LATENCY_S, SimConfig
from spillway.sim.faults import KINDS as FAULTS
from spillway.sim.faults import Fault, FaultError, parse_fault
from spillway.sim.limits import LimitError, LimitSpec, Verdict, WindowJudge, parse_limit
from spillway.sim.scenario import Phase, Scenario, ScenarioError
from spillway.sim.server import Simulator
from spillway.sim.service import run_forever
from spillway.sim.wire.dialect import Dialect, StreamPlan
from spillway.sim.wire.openai import OpenAiDialect

__all__ = [
    "Answer",
    "Ask",
    "DEFAULT_LATENCY_S",
    "Dialect",
    "FAULTS",
    "Fault",
    "FaultError",
    "LimitError",
    "LimitSpec",
    "OpenAiDialect",
    "Phase",
    "Scenario",
    "ScenarioError",
    "SimConfig",
    "Simulator",
    "StreamPlan",
    "Verdict",
    "WindowJudge",
    "parse_fault",
    "parse_limit",
    "run_forever",
]
