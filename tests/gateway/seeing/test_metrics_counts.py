"""What /metrics counts is what the simulator saw and the callers were told."""

import asyncio

import pytest
from through import ADMIN, TEAM, ask

import spillway
from spillway.runtime.project import GatewayKey

NO_WAIT = spillway.RetryPolicy(max_retries=2, initial_backoff_s=0.001, jitter="none")


def faulty(sim, fault, path="*"):
    sim.set_scenario({"phase": [{"fault": fault, "path": path}]})


async def test_requests_tokens_and_cost_are_the_simulators(gate, sim):
    g = await gate()
    answers = [(await g.chat()).json() for _ in range(5)]
    streams = [
        (await g.chat(stream=True, stream_options={"include_usage": True})).events()[-1]["usage"] for _ in range(3)
    ]
    usages = [answer["usage"] for answer in answers] + streams
    seen, truth = await g.scrape(), await g.sim_stats()
    about = {"door": "chat", "model": "gpt-4o-mini", "deployment": "gpt-4o-mini", "outcome": "ok"}
    assert seen("spillway_requests_total", **about) == truth["served"] == 8
    assert seen("spillway_attempts_total") == seen("spillway_attempts_total", outcome="ok") == truth["asked"]
    assert seen("spillway_deployment_requests_total", deployment="gpt-4o-mini", outcome="ok") == 8
    for name, labels in (("spillway_tokens_total", {}), ("spillway_key_tokens_total", {"key": "team"})):
        assert seen(name, kind="input", **labels) == sum(u["prompt_tokens"] for u in usages)
        assert seen(name, kind="output", **labels) == sum(u["completion_tokens"] for u in usages)
    assert seen("spillway_cost_usd_total") == pytest.approx(truth["billed_usd"], rel=1e-12)
    assert seen("spillway_key_cost_usd_total", key="team") == pytest.approx(truth["billed_usd"], rel=1e-12)
    assert seen("spillway_key_requests_total", key="team") == 8
    assert seen("spillway_request_duration_seconds_count", door="chat", model="gpt-4o-mini") == 8
    assert seen("spillway_first_content_seconds_count", door="chat") == 3
    assert seen("spillway_attempt_duration_seconds_count") == 8
    assert seen("spillway_attempt_first_content_seconds_count") == 8
    assert seen("spillway_overhead_seconds_count", door="chat") == 8


async def test_classes_of_tokens(gate, sim):
    mark = {"cache_control": {"type": "ephemeral"}}
    long = {"role": "user", "content": [{"type": "text", "text": "word " * 9000, **mark}]}
    later = [long, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "Go on"}]
    config = spillway.AnthropicConfig(endpoint=sim.url, api_key=spillway.Secret("sk-sim"))
    claude = spillway.Deployment(name="claude", model="claude-haiku-4-5", runtime_config=config)
    thinker = spillway.Deployment(
        name="thinker",
        model="gpt-5-mini",
        runtime_config=spillway.OpenAiConfig(endpoint=sim.url + "/v1", api_key=spillway.Secret("sk-sim")),
    )
    g = await gate(deployments=[claude, thinker])
    first = (await g.chat("claude", messages=[long])).json()["usage"]
    second = (await g.chat("claude", messages=later)).json()["usage"]
    thought = (await g.chat("thinker", reasoning_effort="high")).json()["usage"]
    seen = await g.scrape()
    cached = second["prompt_tokens_details"]["cached_tokens"]
    assert cached > 0
    assert seen("spillway_tokens_total", deployment="claude", kind="cached") == cached
    written = sum(u["prompt_tokens_details"].get("cache_write_tokens", 0) for u in (first, second))
    assert seen("spillway_tokens_total", deployment="claude", kind="cache_write") == written > 0
    reasoning = thought["completion_tokens_details"]["reasoning_tokens"]
    assert seen("spillway_tokens_total", deployment="thinker", kind="reasoning") == reasoning > 0


async def test_retries_errors_and_fallbacks(gate, sim):
    config = spillway.AnthropicConfig(endpoint=sim.url, api_key=spillway.Secret("sk-sim"))
    spare = spillway.Deployment(name="spare", model="claude-haiku-4-5", runtime_config=config)
    g = await gate()
    g = await gate(deployments=[g.deployment("first", fallback=("spare",), retry=NO_WAIT), spare])
    faulty(sim, "503", "/v1/chat/*")
    answer = await g.chat("first")
    assert answer.headers["x-spillway-deployment"] == "spare"
    seen, truth = await g.scrape(), await g.sim_stats()
    assert seen("spillway_attempts_total", deployment="first", outcome="server_error") == 3
    assert seen("spillway_attempts_total", deployment="spare", outcome="ok") == 1
    assert seen("spillway_attempts_total") == truth["asked"] == 4
    assert seen("spillway_retries_total", deployment="first") == 2
    assert seen("spillway_fallbacks_total", deployment="spare") == 1
    assert seen("spillway_requests_total", model="first", deployment="spare", outcome="ok") == 1
    assert seen("spillway_queue_wait_seconds_count", deployment="first") == 2


async def test_the_end_of_a_broken_and_of_an_abandoned_stream(gate, sim):
    g = await gate()
    faulty(sim, "truncated-stream")
    await g.chat(stream=True)
    faulty(sim, "stall-mid-stream")
    leave = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, leave.set)
    await g.chat(stream=True, how={"leave": leave})
    seen = await g.scrape()
    assert seen("spillway_requests_total", outcome="stream_interrupted") == 1
    assert seen("spillway_requests_total", outcome="cancelled") == 1
    assert seen("spillway_disconnects_total", door="chat") == 1
    assert seen("spillway_attempts_total", outcome="cancelled") == 1
    assert seen("spillway_deployment_requests_total", outcome="cancelled") == 1
    assert seen("spillway_deployment_requests_total", outcome="failed") == 1


async def test_refusals_by_whose_limit_it_was(gate, sim):
    key = GatewayKey(name="team", key=spillway.Secret("-"), requests_per_minute=1, max_spend_per_day_usd=1.0)
    g = await gate(key=key)
    breaker = g.cluster.deployment("gpt-4o-mini").circuit_breaker()
    breaker.force_open(60.0)
    await g.chat()
    await g.chat()
    breaker.reset()
    await g.chat()
    await g.chat()
    seen = await g.scrape()
    assert seen("spillway_refusals_total", door="chat", limited_by="breaker") == 2
    assert seen("spillway_refusals_total", door="chat", limited_by="key") == 1
    assert seen("spillway_deployment_refusals_total", deployment="gpt-4o-mini") == 2
    assert seen("spillway_requests_total", deployment="gpt-4o-mini", outcome="circuit_open") == 2
    assert (await g.sim_stats())["asked"] == seen("spillway_attempts_total") == 1


async def test_made_up_names_make_no_series(gate, sim):
    g = await gate()
    before = len((await g.scrape()).samples)
    for number in range(2000):
        body = {"model": f"made-up-{number}", "messages": [{"role": "user", "content": "x"}]}
        await ask(g.app, "POST", "/v1/chat/completions", body, TEAM)
    for number in range(200):
        await ask(g.app, "GET", f"/made-up/{number}", None, {"authorization": f"Bearer made-up-{number}"})
    seen = await g.scrape()
    assert "made-up" not in seen.text
    assert len(seen.samples) - before < 150
    assert seen("spillway_requests_total", model="(none)", outcome="model_not_found") == 2000
    assert seen("spillway_requests_total", door="(none)", outcome="invalid_api_key") == 200


async def test_the_operators_door(gate, sim):
    g = await gate()
    for headers in ({}, TEAM, {"authorization": "Bearer admin-secreT"}):
        answer = await ask(g.app, "GET", "/metrics", None, headers)
        assert answer.status == 401
        assert b"spillway_" not in answer.body
    assert (await ask(g.app, "POST", "/metrics", {}, ADMIN)).status == 405
    head = await ask(g.app, "HEAD", "/metrics", None, ADMIN)
    assert (head.status, head.body) == (200, b"")
