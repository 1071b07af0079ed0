"""One circuit of several nodes in manual time, over both scripts at once."""

import importlib.resources

import msgspec
import redis

from spillway.core.errors import CircuitOpen
from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker import CircuitState
from spillway.stores.commons import Commons
from spillway.stores.shared.breakers import BreakersAnswer, BreakersPart
from spillway.testing import ManualClock

SILENT_S = 15.0


class Idle:
    """A syncing that leaves it to the test when a part is synced."""

    def add(self, part):
        pass

    def wake(self):
        pass


class BothStores(Commons):
    """A `Commons` that has the Lua script run beside it, at the same time, and answer the same."""

    def __init__(self, server, clock, **options):
        super().__init__(clock=clock, name=server.name(), **options)
        self.redis = redis.Redis.from_url(server.url)
        source = importlib.resources.files("spillway.stores.redis").joinpath("breakers.lua").read_text()
        at = "redis.call('TIME')"
        assert at in source
        self.script = self.redis.register_script(source.replace(at, "cmsgpack.unpack(ARGV[2])"))

    def forget(self):
        super().forget()
        keys = self.redis.keys(f"{self.settings.prefix}*")
        if keys:
            self.redis.delete(*keys)

    def run_scripts(self, calls):
        answers = super().run_scripts(calls)
        for (_, keys, argument), answer in zip(calls, answers, strict=True):
            ms = self.now_ms
            now = msgspec.msgpack.encode([ms // 1000, ms % 1000 * 1000])
            other = self.script(keys=keys, args=[argument, now])
            assert comparable(other) == comparable(answer)
        return answers


def comparable(answer):
    heard = msgspec.msgpack.decode(answer, type=BreakersAnswer)
    told = dict(heard.told) if isinstance(heard.told, list) else {}
    return heard.now, heard.version, told


class Node:
    def __init__(self, number, world):
        self.number, self.world, self.lives = number, world, 0
        self.cut = False
        self.restart()

    def restart(self):
        self.lives += 1
        world = self.world
        self.part = BreakersPart(
            settings=world.store.settings, node=f"n{self.number}.{self.lives}", syncing=Idle(), clock=world.clock
        )
        self.circuit = self.part.share("c", "p", world.config)
        # Open tickets, with the state's number in the store that a probe belongs to, None for what is no leased probe.
        self.tickets = []
        self.heard_at = -SILENT_S

    @property
    def machine(self):
        return self.circuit._shared

    def sync(self, *, answer_lost=False):
        call = self.part.begin(self.world.store.run, leaving=False)
        if self.cut:
            self.part.failed()
            return
        began = self.world.clock()
        (answer,) = self.world.store.run_scripts([call])
        if answer_lost:
            self.part.failed()
        else:
            self.heard_at = began
            self.part.end(answer)

    def call(self):
        try:
            ticket = self.circuit.check()
        except CircuitOpen as refused:
            assert refused.retry_after > 0
            return False
        leased = bool(ticket.probe) and not self.machine.alone
        self.tickets.append((ticket, self.machine._gen if leased else None))
        return True

    def in_flight(self, gen):
        """Its probes of a state of the store, while the store has not given them up for its silence."""
        if self.world.clock() - self.heard_at >= SILENT_S:
            return 0
        return sum(g == gen and self.machine.holds(t.probe) and self.machine._gen == gen for t, g in self.tickets)


class World:
    def __init__(self, nodes=2, probes=1, server=None, *, longest_s=20.0):
        self.clock = ManualClock(1000.0)
        if server is None:
            self.store = Commons(clock=self.clock, silent_s=SILENT_S)
        else:
            self.store = BothStores(server, self.clock, silent_s=SILENT_S)
        self.config = CircuitBreakerConfig(
            failure_threshold=2, open_duration_s=1.0, max_open_duration_s=longest_s, half_open_max_probes=probes
        )
        self.nodes = [Node(number, self) for number in range(nodes)]

    @property
    def record(self):
        board = next((value for value, _ in self.store._values.values()), None)
        return None if board is None else board.records.get("c")

    def check(self):
        record = self.record
        if record is not None and record.state == "half_open":
            under_way = sum(node.in_flight(record.gen) for node in self.nodes)
            assert under_way + record.proven <= self.config.half_open_max_probes

    def step(self, kind, which, how):
        node = self.nodes[which % len(self.nodes)]
        if kind == "call":
            for _ in range(1 + how % 4):
                node.call()
        elif kind == "probe":
            self.probe(node)
        elif kind == "settle" and node.tickets:
            ticket, _ = node.tickets.pop(how % len(node.tickets))
            (ticket.success, ticket.failure, ticket.failure, ticket.release)[how % 4]()
        elif kind == "break" and node.tickets:
            ticket, _ = node.tickets.pop(how % len(node.tickets))
            ticket.success()
            ticket.interrupted()
        elif kind == "fail":
            for ticket, _ in node.tickets:
                ticket.failure()
            node.tickets.clear()
        elif kind == "sync":
            node.sync()
        elif kind == "sync all":
            for each in self.nodes:
                each.sync()
        elif kind == "answer lost":
            node.sync(answer_lost=True)
        elif kind == "cut":
            node.cut = True
            node.sync()
        elif kind == "heal":
            node.cut = False
        elif kind == "kill":
            node.restart()
        elif kind == "wait":
            self.clock.advance((0.05, 0.3, 1.0, 2.0, 8.0, 16.0)[how % 6])
        elif kind == "forget":
            self.store.forget()
        elif kind == "operator":
            circuit = node.circuit
            (lambda: circuit.force_open(3.0), lambda: circuit.force_close(2.0), circuit.reset)[how % 3]()
        self.check()

    def probe(self, node):
        """Ask until a call is let through, as who waits does; return whether one was."""
        if node.call():
            return True
        node.sync()
        self.check()
        return node.call()

    def open(self, node):
        """Have the circuit open by a node's own failures, and all know it."""
        while node.circuit.state is CircuitState.CLOSED:
            node.call()
            node.tickets.pop()[0].failure()
        self.quiet()

    def quiet(self):
        for node in self.nodes:
            node.cut = False
        for _ in range(3):
            for node in self.nodes:
                node.sync()
                self.check()

    def agree(self):
        states = {node.circuit.state for node in self.nodes}
        assert len(states) == 1, self.nodes
        assert not any(node.machine.alone for node in self.nodes)
        record = self.record
        if record is not None:
            assert states == {CircuitState(record.state)}
        if states == {CircuitState.OPEN}:
            ends = [node.machine.retry_at for node in self.nodes]
            assert max(ends) - min(ends) < 0.01 or max(ends) <= self.clock()

    def heal(self):
        """With a provider that is well all close, in about the open time."""
        for node in self.nodes:
            for ticket, _ in node.tickets:
                ticket.release()
            node.tickets.clear()
        for turn in range(2000):
            node = self.nodes[turn % len(self.nodes)]
            if node.call():
                node.tickets.pop()[0].success()
            node.sync()
            self.check()
            if all(each.circuit.state is CircuitState.CLOSED for each in self.nodes):
                break
            self.clock.advance(0.05)
        self.quiet()
        self.agree()
        assert self.nodes[0].circuit.state is CircuitState.CLOSED
