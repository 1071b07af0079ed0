"""The pieces of a run over Ray that need no Ray."""

import asyncio
import pickle
from contextvars import copy_context

import pytest

from spillway.batch.chronicle import Chronicle
from spillway.batch.spend import LineGate, RunBudget
from spillway.core.errors import BudgetExceeded, ConfigError
from spillway.core.options import Deployment
from spillway.core.secrets import Secret, SecretRef
from spillway.providers.openai.config import OpenAiConfig
from spillway.ray.errand import Errand, WorkerLostError
from spillway.ray.far_breaker import FarBreaker
from spillway.ray.far_worker import FarWorker
from spillway.ray.gate import FarGate
from spillway.ray.messages import Ask, NewSecrets, Plan, Settled, Wants
from spillway.ray.secrets import SecretReader, Variables
from spillway.remote.circuit_breaker import BreakerEvent, CircuitState
from spillway.remote.circuit_breaker.report import TransitionReason
from spillway.testing import run_virtual


def test_a_far_gate_asks_once_and_keeps_what_it_was_granted():
    told, woken = [], []
    gate = FarGate(7, told.append)
    stop = gate.on_room(lambda: woken.append(1))
    assert gate.reserve("m", 50) is None
    assert gate.reserve("m", 50) is None
    assert told == [Wants(7, "m", 50)]
    gate.grant(50)
    assert woken == [1]
    gate.reserve("m", 50).release()
    hold = gate.reserve("m", 40)
    hold.sending()
    hold.settle(30)
    hold.settle(99)
    assert told == [Wants(7, "m", 50), Settled(7, 30)]
    # What was settled is gone: another attempt asks again, as does one that may cost more.
    assert gate.reserve("m", 10) is None
    assert gate.reserve("n", 80) is None
    assert told[2:] == [Wants(7, "m", 10), Wants(7, "n", 80)]
    gate.refuse(BudgetExceeded("spent"))
    with pytest.raises(BudgetExceeded, match="spent"):
        gate.reserve("n", 80)
    stop()
    gate.grant(1)
    assert woken == [1, 1]


class Log:
    def __init__(self):
        self.sends = []

    def send(self, number, pico, paid):
        self.sends.append((number, pico, paid))


def errand(budget, log):
    ask = Ask(ticket=1, name="m", request=None, priority=None, shift_early=False, stream=False)
    return Errand(ask, LineGate(3, budget, log), copy_context())


async def test_what_a_lost_worker_was_granted_counts_as_spent():
    budget, log = RunBudget(100), Log()
    lost = errand(budget, log)
    assert lost.reserve("m", 60)
    assert log.sends == [(3, 60, 0)]
    lost.lost()
    assert (budget.paid_pico, budget.reserved_pico) == (60, 0)
    with pytest.raises(WorkerLostError):
        await lost.outcome
    with pytest.raises(BudgetExceeded):
        errand(budget, log).reserve("m", 60)


async def test_what_was_not_settled_is_given_back_with_the_answer():
    budget = RunBudget(100)
    first, second = errand(budget, Log()), errand(budget, Log())
    assert first.reserve("m", 60)
    assert not second.reserve("m", 60)
    assert second.wants == ("m", 60)
    first.settle(20)
    assert first.reserve("m", 30)
    first.answered("an answer")
    assert (budget.paid_pico, budget.reserved_pico) == (20, 0)
    assert await first.outcome == "an answer"
    assert second.reserve("m", 60)
    second.failed(asyncio.TimeoutError())
    assert budget.reserved_pico == 0
    second.outcome.exception()


def test_a_far_breaker_is_as_bad_as_the_worst():
    now, seen, woken = [100.0], [], []
    breaker = FarBreaker(lambda: now[0])
    breaker.subscribe(lambda event: seen.append(event.state))
    stop = breaker.on_room(lambda: woken.append(1))

    def trip(number, state, retry_at=0.0):
        previous = CircuitState.CLOSED
        reason = next(iter(TransitionReason))
        event = BreakerEvent(at=now[0], provider="m", previous=previous, state=state, reason=reason)
        breaker.take(number, event, retry_at=retry_at)

    trip(0, CircuitState.OPEN, 130.0)
    trip(1, CircuitState.OPEN, 110.0)
    assert (breaker.state, breaker.retry_after()) == (CircuitState.OPEN, 10.0)
    trip(1, CircuitState.CLOSED)
    assert breaker.state is CircuitState.OPEN
    breaker.forget(0)
    assert (breaker.state, breaker.retry_after()) == (CircuitState.CLOSED, 0.0)
    assert seen == [CircuitState.OPEN]
    breaker.has_room()
    stop()
    breaker.has_room()
    assert woken == [1]


async def test_deployments_travel_without_their_secrets(tmp_path):
    (tmp_path / "key").write_text("sk-file\n")
    deployments = [
        Deployment(name="a", model="gpt-4o", runtime_config=OpenAiConfig(api_key=Secret("sk-given"))),
        Deployment(
            name="b",
            model="gpt-4o",
            runtime_config=OpenAiConfig(
                api_key=(SecretRef(from_env="B_KEY"), SecretRef(from_file=str(tmp_path / "key")))
            ),
        ),
        Deployment(name="c", model="gpt-4o"),
    ]
    environ = {"B_KEY": "sk-env", "OPENAI_API_KEY": "sk-usual", "OTHER": "not ours"}
    reader = SecretReader(deployments, environ)
    packed = pickle.dumps(reader.deployments)
    assert b"sk-" not in packed
    values = await reader.read()
    assert sorted(values.values()) == ["sk-env", "sk-file", "sk-given", "sk-usual"]
    a, b, c = pickle.loads(packed)
    told = Variables(values, {"HOME": "/here"})
    assert told[a.runtime_config.api_key.from_env] == "sk-given"
    assert [told[ref.from_env] for ref in b.runtime_config.api_key] == ["sk-env", "sk-file"]
    assert c.runtime_config is None
    assert (told["OPENAI_API_KEY"], told["HOME"], "OTHER" in told) == ("sk-usual", "/here", False)
    (tmp_path / "key").write_text("sk-new")
    looked_up = []
    told.on_lookup(lambda: looked_up.append(1))
    told.tell(await reader.read())
    assert told[b.runtime_config.api_key[1].from_env] == "sk-new" and told["HOME"] == "/here"
    assert looked_up == [1]
    for shown in (reader, told, Plan(packed, values, None), NewSecrets(values)):
        assert "sk-" not in repr(shown)


async def test_a_secret_that_is_missing_is_named_without_a_value():
    deployments = [
        Deployment(name="a", model="gpt-4o", runtime_config=OpenAiConfig(api_key=SecretRef(from_env="GONE")))
    ]
    with pytest.raises(ConfigError, match="environment variable GONE is not set"):
        await SecretReader(deployments, {}).read()


def test_instants_of_several_processes_may_come_out_of_order():
    chronicle = Chronicle()
    for at in (1.0, 3.0, 2.0, 4.0, 3.5):
        chronicle.failed("m", at)
    assert chronicle.failures(["m"], 1.5, 3.2) == 2


class Call:
    """A method of a Ray actor that answers with what a coroutine function returns."""

    def __init__(self, function):
        self._function = function

    def remote(self, *args):
        return self._function(*args)


class SilentActor:
    """Says once that it has nothing to say, then nothing."""

    def __init__(self):
        self.taken = []
        self.told = False
        self.take, self.tell = Call(self._take), Call(self._tell)

    async def _take(self, orders):
        self.taken += orders

    async def _tell(self):
        if self.told:
            await asyncio.Event().wait()
        self.told = True
        return 0.0, []


def test_a_worker_that_says_nothing_for_30_s_is_given_up_and_its_lines_are_told():
    async def main():
        loop = asyncio.get_running_loop()
        actor = SilentActor()
        worker = FarWorker(0, None, actor, observers=(), breakers={}, reread=lambda: None)
        budget = RunBudget(100)
        held = errand(budget, Log())
        worker.hand(held)
        assert held.reserve("m", 60)
        began = loop.time()
        with pytest.raises(WorkerLostError):
            await worker.serve()
        assert actor.taken == [held.ask]
        assert 30.0 <= loop.time() - began < 31.0
        assert budget.paid_pico == 60
        with pytest.raises(WorkerLostError):
            await held.outcome

    run_virtual(main())
