"""One log line a request: who, what, how it ended; never what was said."""

import asyncio
import io
import json

import pytest
from test_traces import PARENT, traces  # noqa: F401
from through import ADMIN, ask

import spillway
from spillway.gateway.seeing.eyes import looking_on
from spillway.gateway.seeing.lines import RequestLog, log_circuits
from spillway.runtime.project import GatewayKey


class Lines:
    """What was logged."""

    def __init__(self, stream):
        self.text = stream.getvalue()
        self.all = [json.loads(line) for line in self.text.splitlines()]
        self.requests = [line for line in self.all if line["event"] == "request"]
        self.circuits = [line for line in self.all if line["event"] == "circuit"]


async def logged(act, gate, *, environ=None, **options):
    stream = io.StringIO()
    with looking_on(environ or {}, stream) as eyes:
        g = await gate(listeners=eyes.listeners, **options)
        await act(g)
    return Lines(stream)


async def test_a_line_says_what_happened(gate, sim):
    answers = []

    async def act(g):
        answers.append(await g.chat(headers={"x-request-id": "mine-1"}))
        await g.chat(stream=True)

    lines = await logged(act, gate)
    first, second = lines.requests
    usage = answers[0].json()["usage"]
    expected = {
        "level": "info",
        "logger": "spillway.requests",
        "request_id": "mine-1",
        "door": "chat",
        "key": "team",
        "model": "gpt-4o-mini",
        "deployment": "gpt-4o-mini",
        "status": 200,
        "outcome": "ok",
        "attempts": 1,
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
    }
    assert {name: first[name] for name in expected} == expected
    assert first["cost_usd"] == pytest.approx(float(answers[0].headers["x-spillway-cost-usd"]))
    assert first["duration_s"] == pytest.approx(
        first["queued_s"] + first["upstream_s"] + first["waited_s"] + first["overhead_s"], abs=1e-5
    )
    assert (second["stream"], second["first_content_s"] > 0) == (True, True)


async def test_refusals_name_the_limit_and_circuits_are_told(gate, sim):
    async def act(g):
        stop = log_circuits(g.cluster)
        g.cluster.deployment("gpt-4o-mini").circuit_breaker().force_open(60.0)
        await g.chat()
        await g.chat("nobody")
        g.cluster.deployment("gpt-4o-mini").circuit_breaker().reset()
        stop()
        g.cluster.deployment("gpt-4o-mini").circuit_breaker().force_open(60.0)

    key = GatewayKey(name="team", key=spillway.Secret("-"))
    lines = await logged(act, gate, key=key)
    first, second = lines.requests
    assert (first["status"], first["outcome"], first["limited_by"]) == (503, "circuit_open", "breaker")
    assert (second["status"], second["outcome"], "model" in second) == (404, "model_not_found", False)
    told = [(c["level"], c["circuit"], c["state"], c["reason"]) for c in lines.circuits]
    assert told == [
        ("warning", "gpt-4o-mini", "open", "forced_open"),
        ("info", "gpt-4o-mini", "closed", "reset"),
    ]


async def test_probes_and_scrapes_are_quiet(gate, sim):
    async def act(g):
        await ask(g.app, "GET", "/healthz")
        await ask(g.app, "GET", "/readyz")
        await ask(g.app, "GET", "/metrics", None, ADMIN)

    assert (await logged(act, gate)).requests == []
    loud = await logged(act, gate, environ={"SPILLWAY_LOG_LEVEL": "debug"})
    assert [line["door"] for line in loud.requests] == ["healthz", "readyz", "metrics"]


async def test_nothing_that_was_said_and_no_secret(gate, sim):
    async def act(g):
        canary = [{"role": "user", "content": "CANARY-PROMPT"}]
        for fault in (None, "500", "content-filter", "html-error-page", "truncated-stream", "garbage-json", "401"):
            sim.set_scenario({"phase": [] if fault is None else [{"fault": fault}]})
            for stream in (False, True):
                await g.chat(messages=canary, stream=stream, user="CANARY-USER", timeout_s=1)
        await g.chat(messages=[{"role": "CANARY-ROLE"}])
        await g.chat(messages="CANARY-SHAPE")
        await ask(g.app, "POST", "/v1/chat/completions", b'{"CANARY', {"authorization": "Bearer team-secret"})
        await ask(g.app, "GET", "/CANARY-PATH", None, {"authorization": "Bearer CANARY-KEY"})

    g = await gate()
    once = spillway.RetryPolicy(max_retries=0)
    lines = await logged(act, gate, deployments=[g.deployment("gpt-4o-mini", retry=once)])
    assert len(lines.requests) == 18
    for secret in ("CANARY", "sk-sim", "team-secret", "admin-secret"):
        assert secret not in lines.text


async def test_a_bug_of_ours_tells_its_place_and_not_the_prompt(gate, sim, monkeypatch):
    from spillway.gateway import doors

    async def broken(_gateway, _caller, exchange, _note):
        raise KeyError((await exchange.json_object())["messages"][0]["content"])

    monkeypatch.setitem(doors.DOORS, "/v1/chat/completions", doors.Door("chat", broken))
    lines = await logged(lambda g: g.chat(messages=[{"role": "user", "content": "CANARY"}]), gate)
    (failure,) = [line for line in lines.all if "exception" in line]
    assert failure["exception"].startswith("KeyError in broken (test_log_lines.py:")
    assert lines.requests[0]["status"] == 500
    assert "CANARY" not in lines.text


async def test_lines_and_traces_know_each_other(gate, sim, traces):  # noqa: F811
    stream = io.StringIO()
    with looking_on({}, stream):
        listeners = [traces.tracer, RequestLog(traces.tracer.trace_id)]
        g = await gate(observers=[traces.tracer], listeners=listeners)
        await g.chat(headers={"traceparent": PARENT})
        await g.chat()
        await ask(g.app, "GET", "/healthz")
    first, second = Lines(stream).requests
    assert first["trace_id"] == PARENT[3:35]
    assert len(second["trace_id"]) == 32
    assert second["trace_id"] != first["trace_id"]


@pytest.mark.parametrize("name", ["SPILLWAY_LOG_LEVEL", "SPILLWAY_LOG_FORMAT"])
def test_a_wrong_variable_is_named(name):
    with pytest.raises(spillway.ConfigError, match=f"{name}.*nonsense"), looking_on({name: "nonsense"}, io.StringIO()):
        pass


async def test_a_thousand_lines_are_all_there(gate, sim):
    async def act(g):
        for _ in range(10):
            await asyncio.gather(*(ask(g.app, "GET", f"/nowhere/{n}") for n in range(100)))

    lines = await logged(act, gate)
    assert len(lines.requests) == 1000
    assert all(line["outcome"] == "invalid_api_key" for line in lines.requests)
