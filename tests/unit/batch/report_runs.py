"""Runs of which reports are drawn in tests: records made up from a seed, without a provider."""

import math
import random

from spillway.batch.report import Recorder
from spillway.batch.summary import Ending, RunSummary
from spillway.core.errors import ServerError
from spillway.core.options import CircuitBreakerConfig
from spillway.core.reply import Usage
from spillway.remote.circuit_breaker import CircuitBreakerHandle
from spillway.remote.engine.metrics import AttemptRecord, RequestRecord


class Clock:
    """Seconds that are set by hand."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now


def attempt(at, deployment="openai", **fields):
    """An attempt that went well unless `fields` say otherwise."""
    defaults = {
        "attempt": 0,
        "outcome": "ok",
        "elapsed_s": 0.8,
        "first_content_s": 0.2,
        "usage": Usage(input_tokens=120, output_tokens=60),
        "cost_pico": 250_000_000,
    }
    return AttemptRecord(at=at, deployment=deployment, **(defaults | fields))


def failed(at, code, deployment="openai", **fields):
    return attempt(
        at,
        deployment,
        outcome=code,
        **({"first_content_s": None, "usage": None, "cost_pico": 0, "elapsed_s": 0.05} | fields),
    )


def request(at, deployment="openai", **fields):
    defaults = {
        "asked": deployment,
        "outcome": "ok",
        "elapsed_s": 0.9,
        "queued_s": 0.1,
        "attempts": 1,
        "retries": 0,
        "fell_back": False,
    }
    return RequestRecord(at=at, deployment=deployment, **(defaults | fields))


def summary(**fields):
    """What the run says of itself; `lines` and the like may be given."""
    defaults = {
        "ending": Ending.THROUGH,
        "message": "",
        "input": "prompts.jsonl",
        "output": "answers.jsonl",
        "lines": 0,
        "ok": 0,
        "failed": 0,
        "errors": {},
        "unwritten": 0,
        "written_now": 0,
        "attempts": 0,
        "retried": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0.0,
        "cost_known": True,
        "elapsed_s": 0.0,
        "deployments": {},
    }
    return RunSummary(**(defaults | fields))


NAMES = ("gpt-4o-mini", "claude-haiku", "gemini-flash")
SECONDS = 312.0
OUTAGE = (118.0, 171.0)


def busy_run():
    """A run of five minutes over three deployments; one has an outage, its breaker opens, another takes over."""
    rng = random.Random(7)
    clock = Clock()
    recorder = Recorder(clock)
    breakers = {}
    for name in NAMES:
        config = CircuitBreakerConfig(failure_threshold=5, open_duration_s=12.0, half_open_max_probes=2)
        breakers[name] = CircuitBreakerHandle(name, config, clock=clock)
        recorder.watch(name, breakers[name])
    speeds = {"gpt-4o-mini": (14.0, 0.9, 0.22), "claude-haiku": (8.0, 1.6, 0.45), "gemini-flash": (5.0, 0.6, 0.18)}
    prices = {"gpt-4o-mini": 150_000, "claude-haiku": 800_000, "gemini-flash": 75_000}
    retried = dict.fromkeys(NAMES, 0)
    counts = {"ok": 0, "failed": 0, "errors": {}, "in": 0, "out": 0, "attempts": 0}
    second = 0.0
    while second < SECONDS:
        clock.now = 1000.0 + second
        for name in NAMES:
            pace, typical, first = speeds[name]
            down = name == "gpt-4o-mini" and OUTAGE[0] <= second < OUTAGE[1]
            ramp = min(1.0, 0.25 + second / 25) * (0.85 + 0.15 * math.sin(second / 17 + len(name)))
            if name == "claude-haiku" and OUTAGE[0] <= second < OUTAGE[1]:
                ramp *= 1.7
            for _ in range(int(pace * ramp / 4 + rng.random())):
                try:
                    ticket = breakers[name].check()
                except Exception:
                    continue
                roll = rng.random()
                number = 0
                if down:
                    recorder.on_attempt(failed(clock.now, "server_error", name, elapsed_s=0.03))
                    ticket.failure(ServerError("down"))
                    counts["attempts"] += 1
                    continue
                ticket.success(0.2)
                for code, share in (
                    ("rate_limited", 0.03 if name == "claude-haiku" else 0.004),
                    ("timeout", 0.004),
                    ("network_error", 0.002),
                ):
                    if roll < share:
                        recorder.on_attempt(failed(clock.now - 0.1, code, name))
                        counts["attempts"] += 1
                        retried[name] += 1
                        number = 1
                        break
                    roll -= share
                if rng.random() < 0.0015:
                    recorder.on_attempt(failed(clock.now, "content_filtered", name, attempt=number))
                    recorder.on_request(request(clock.now, name, outcome="content_filtered"))
                    counts["errors"]["content_filtered"] = counts["errors"].get("content_filtered", 0) + 1
                    counts["failed"] += 1
                    counts["attempts"] += 1
                    continue
                elapsed = typical * math.exp(rng.gauss(0, 0.38)) * (3.5 if rng.random() < 0.015 else 1)
                usage = Usage(input_tokens=rng.randint(80, 420), output_tokens=rng.randint(30, 260))
                recorder.on_attempt(
                    attempt(
                        clock.now,
                        name,
                        attempt=number,
                        elapsed_s=elapsed,
                        first_content_s=min(elapsed, first * math.exp(rng.gauss(0, 0.3))),
                        usage=usage,
                        cost_pico=prices[name] * (usage.input_tokens + 4 * usage.output_tokens),
                    )
                )
                fell_back = name == "claude-haiku" and OUTAGE[0] <= second < OUTAGE[1] and rng.random() < 0.4
                recorder.on_request(request(clock.now, name, fell_back=fell_back))
                counts["ok"] += 1
                counts["attempts"] += 1
                counts["in"] += usage.input_tokens
                counts["out"] += usage.output_tokens
        second += 0.25
    clock.now = 1000.0 + SECONDS
    cost = sum(sum(t.cost_pico) for t in recorder.tracks.values()) / 1e12
    told = summary(
        lines=counts["ok"] + counts["failed"],
        ok=counts["ok"],
        failed=counts["failed"],
        errors=counts["errors"],
        written_now=counts["ok"] + counts["failed"],
        attempts=counts["attempts"],
        retried=sum(retried.values()),
        input_tokens=counts["in"],
        output_tokens=counts["out"],
        cost_usd=cost,
        elapsed_s=SECONDS,
    )
    return recorder, told
