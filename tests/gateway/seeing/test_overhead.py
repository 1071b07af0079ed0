"""Overhead is the gateway's own: neither its queue, nor the provider, nor a caller who is slow to send or to read."""

import asyncio

import pytest

import spillway

OWN = 0.15
"""Seconds that a busy machine may add; every wait below is longer."""


class Kept:
    def __init__(self):
        self.served = []

    def on_served(self, record):
        self.served.append(record)


async def told(make, **options):
    kept = Kept()
    g = await make(listeners=[kept], **options)
    return g, kept


async def test_a_slow_reader_of_a_stream_is_no_overhead(gate):
    g, kept = await told(gate)
    await g.chat(stream=True, how={"slow_s": 0.2})
    (record,) = kept.served
    assert record.outcome == "ok"
    assert record.waited_s >= 0.6
    assert record.elapsed_s == pytest.approx(record.waited_s + record.upstream_s + record.overhead_s)
    assert record.overhead_s < OWN


async def test_a_slow_body_and_a_slow_reader_of_a_whole_answer_are_none(gate):
    g, kept = await told(gate)
    await g.chat(how={"slow_s": 0.2, "slow_body_s": 0.3})
    (record,) = kept.served
    assert record.waited_s >= 0.7
    assert record.overhead_s < OWN


async def test_the_provider_is_none(slow_gate):
    g, kept = await told(slow_gate)
    await g.chat(stream=True, max_tokens=8)
    (record,) = kept.served
    assert record.upstream_s > 0.2
    assert record.waited_s < OWN
    assert record.overhead_s < OWN


async def test_backoff_and_queue_are_none(gate, sim):
    g = await gate()
    retry = spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.4, jitter="none")
    serving = spillway.Serving(max_concurrent=1)
    g, kept = await told(gate, deployments=[g.deployment("m", retry=retry, serving=serving)])
    sim.set_scenario({"phase": [{"fault": "503"}]})
    await asyncio.gather(g.chat("m"), g.chat("m"))
    for record in kept.served:
        assert (record.status, record.attempts) == (502, 2)
        assert record.queued_s >= 0.39
        assert record.overhead_s < OWN


async def test_a_caller_who_leaves_a_stream(slow_gate):
    g, kept = await told(slow_gate)
    leave = asyncio.Event()
    asyncio.get_running_loop().call_later(0.5, leave.set)
    await g.chat(stream=True, how={"leave": leave})
    (record,) = kept.served
    assert record.outcome == "cancelled"
    assert record.upstream_s > 0.3
    assert record.overhead_s < OWN
