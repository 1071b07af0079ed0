"""Test doubles and conformance suites for users: virtual time, scripted runners, recordings, suites for their ports."""

from spillway.testing.actor_conformance import ACTOR_CHECKS, ActorSubject
from spillway.testing.clock import ManualClock, VirtualTimeLoop, run_virtual
from spillway.testing.limit_conformance import LIMIT_CHECKS, LimitsSubject
from spillway.testing.replay import Cassette
from spillway.testing.replay_file import RecordedRequest
from spillway.testing.runner_conformance import RUNNER_CHECKS, RunnerSubject
from spillway.testing.scripted import FaultRunner, Reply, ScriptedRunner

__all__ = [
    # time
    "ManualClock",
    "VirtualTimeLoop",
    "run_virtual",
    # runners
    "FaultRunner",
    "Reply",
    "ScriptedRunner",
    # conformance
    "ACTOR_CHECKS",
    "ActorSubject",
    "LIMIT_CHECKS",
    "LimitsSubject",
    "RUNNER_CHECKS",
    "RunnerSubject",
    # recordings
    "Cassette",
    "RecordedRequest",
]
