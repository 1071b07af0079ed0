"""Actors in Ray under the suite that local ones pass, and those of the remote core."""

import asyncio
import contextlib
import os
import pickle
import signal
from functools import partial

import pytest
from ray_rig import processes_of

from spillway.core.errors import Backpressure, ConfigError
from spillway.core.options import Deployment, RateLimits
from spillway.core.request import GenerateRequest, as_messages
from spillway.core.secrets import Secret, SecretRef
from spillway.providers.openai.config import OpenAiConfig
from spillway.ray import EngineActor, spawn
from spillway.remote.engine import AddRequest, Resize
from spillway.remote.rate_limit import GetLimits, NoteThrottled, SetLimits, StrictRateLimiterActor
from spillway.testing import ACTOR_CHECKS, ActorSubject
from spillway.testing.actor_probe import Echo, Nap, Note, Notes, ProbeActor

pytestmark = pytest.mark.xdist_group("ray")


@pytest.mark.parametrize("check", ACTOR_CHECKS, ids=lambda check: check.__name__)
async def test_a_ray_actor(ray, check):
    refs = {}

    def start(factory, name):
        refs[name] = spawn(factory, name)
        return refs[name]

    await check(ActorSubject(spawn=start, stop=lambda name: refs[name].stop()))


async def test_a_reference_may_be_sent_to_others(ray):
    ref = spawn(ProbeActor, "probe")
    other = pickle.loads(ray.cloudpickle.dumps(ref))
    other.tell(Note(1))
    assert await other.ask(Notes(), 30) == [1]
    assert await ref.ask(Notes(), 30) == [1]
    await ref.stop()
    with pytest.raises(Backpressure, match="actor probe is stopped"):
        await other.ask(Echo(1), 30)


async def test_an_actor_whose_process_is_killed_comes_back(ray, ray_server):
    before = processes_of(ray_server, "ActorHost")
    ref = spawn(ProbeActor, "probe")
    await ref.ask(Note(1), 30)
    [pid] = set(processes_of(ray_server, "ActorHost")) - set(before)
    nap = asyncio.ensure_future(ref.ask(Nap(20.0), 30))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Backpressure) as caught:
        await nap
    assert caught.value.reason == "shutting_down"
    notes = None
    while notes is None:
        with contextlib.suppress(Backpressure):
            notes = await ref.ask(Notes(), 30)
    assert notes == []
    await ref.stop()


async def test_the_strict_limiter_as_a_ray_actor(ray):
    ref = spawn(partial(StrictRateLimiterActor, "node", RateLimits(requests_per_minute=60)), "limits")
    snapshot = await ref.ask(GetLimits(), 30)
    assert snapshot.requests.limit == 60
    await ref.ask(SetLimits(RateLimits(requests_per_minute=30)), 30)
    ref.tell(NoteThrottled(5.0))
    snapshot = await ref.ask(GetLimits(), 30)
    assert snapshot.requests.limit == 30
    assert snapshot.blocked_for_s > 3
    await ref.stop()


async def test_an_engine_as_a_ray_actor(ray, here):
    deployment = Deployment(
        name="m",
        model="gpt-4o-mini",
        runtime="openai",
        runtime_config=OpenAiConfig(endpoint=f"{here.sim.url}/v1", api_key=SecretRef(from_env="PATH")),
    )
    ref = spawn(partial(EngineActor, deployment), "engine")
    answering = await ref.ask(AddRequest(request=GenerateRequest(messages=as_messages("say hi"))), 30)
    tokens = await answering
    assert tokens.text
    assert tokens.cost_usd > 0
    assert await ref.ask(Resize(workers=3), 30) == 3
    here.sim.set_scenario({"phase": [{"fault": "content-filter", "from_s": 0.0, "to_s": 1e9}]})
    answering = await ref.ask(AddRequest(request=GenerateRequest(messages=as_messages("say no"))), 30)
    with pytest.raises(Exception) as caught:
        await answering
    assert (caught.value.code, caught.value.deployment, caught.value.attempts) == ("content_filtered", "m", 1)
    await ref.stop()


async def test_a_secret_in_a_factory_is_refused_and_a_wrong_one_is_told(ray):
    deployment = Deployment(name="m", model="gpt-4o-mini", runtime_config=OpenAiConfig(api_key=Secret("sk-canary")))
    with pytest.raises(ConfigError, match="a Secret can't be pickled") as caught:
        spawn(partial(EngineActor, deployment), "engine")
    assert "sk-canary" not in str(caught.value)
    lacking = Deployment(name="m", runtime="openai", runtime_config=OpenAiConfig(api_key=SecretRef(from_env="NOT_SET")))
    ref = spawn(partial(EngineActor, lacking), "engine")
    with pytest.raises(ConfigError, match="environment variable NOT_SET is not set"):
        await ref.ask(Resize(workers=1), 30)
    await ref.stop()
    with pytest.raises(ValueError, match="has a slash"):
        spawn(ProbeActor, "a/b")
