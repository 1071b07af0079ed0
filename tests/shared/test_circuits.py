"""One circuit of several nodes, step by step, over both scripts at once."""

import pytest
from circuits import SILENT_S, World

from spillway.remote.circuit_breaker import CircuitState, TransitionReason
from spillway.testing import run_virtual

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


@pytest.fixture
def play(shared_redis):
    def play(test, *, nodes=2, probes=1, **options):
        async def main():
            world = World(nodes, probes, shared_redis, **options)
            world.quiet()
            try:
                test(world, *world.nodes)
            finally:
                world.store.redis.close()

        run_virtual(main())

    return play


def states(world):
    return [node.circuit.state for node in world.nodes]


def test_what_one_opens_is_open_for_the_other_with_its_cause_and_its_end(play):
    def test(world, one, other):
        events = []
        other.circuit.subscribe(events.append)
        world.open(one)
        assert states(world) == [OPEN, OPEN]
        (event,) = events
        assert (event.reason, event.node) == (TransitionReason.CONSECUTIVE_FAILURES, "n0.1")
        seen = other.circuit.snapshot()
        assert seen.retry_after == pytest.approx(1.0)
        assert (seen.shared, seen.transitions[OPEN]) == (True, 1)
        assert one.circuit.snapshot().transitions[OPEN] == 1

    play(test)


def test_failures_that_did_not_open_it_are_each_nodes_own(play):
    def test(world, one, other):
        for node in (one, other):
            node.call()
            node.tickets.pop()[0].failure()
        world.quiet()
        assert states(world) == [CLOSED, CLOSED]

    play(test)


def test_there_are_exactly_so_many_probes_and_the_last_success_closes_it_for_all(play):
    def test(world, *nodes):
        world.open(nodes[0])
        world.clock.advance(1.0)
        passed = sum(world.probe(node) for _ in range(3) for node in nodes)
        assert passed == 4
        tickets = [ticket for node in nodes for ticket, _ in node.tickets]
        for ticket in tickets[:3]:
            ticket.success()
        world.quiet()
        assert states(world) == [HALF_OPEN] * 3
        tickets[3].success()
        world.quiet()
        assert states(world) == [CLOSED] * 3

    play(test, nodes=3, probes=4)


def test_the_first_failure_opens_it_for_twice_as_long_whoever_probes(play):
    def test(world, one, other):
        world.open(one)
        waits = []
        for node in (other, one, other, one, other, one):
            waits.append(round(node.circuit.retry_after(), 3))
            world.clock.advance(node.circuit.retry_after())
            assert world.probe(node)
            node.tickets.pop()[0].failure()
            world.quiet()
            assert states(world) == [OPEN, OPEN]
        assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 20.0]

    play(test)


def test_a_released_probe_is_the_others_at_once(play):
    def test(world, one, other):
        world.open(one)
        world.clock.advance(1.0)
        assert world.probe(one)
        assert not world.probe(other)
        one.tickets.pop()[0].release()
        one.sync()
        other.sync()
        assert world.probe(other)

    play(test)


def test_a_lease_that_nobody_uses_is_given_back(play):
    def test(world, one, other):
        world.open(one)
        world.clock.advance(1.0)
        assert not one.call()
        one.sync()
        assert not world.probe(other)
        world.clock.advance(1.0)
        one.sync()
        other.sync()
        assert world.probe(other)

    play(test)


def test_the_probe_of_a_node_that_is_silent_is_another_ones(play):
    def test(world, one, other):
        world.open(one)
        world.clock.advance(1.0)
        assert world.probe(one)
        one.restart()
        for _ in range(int(SILENT_S) - 1):
            world.clock.advance(1.0)
            other.sync()
            assert not world.probe(other)
        world.clock.advance(1.0)
        other.sync()
        assert world.probe(other)

    play(test, longest_s=1000.0)


def test_what_comes_late_changes_nothing(play):
    def test(world, one, other):
        world.open(one)
        world.clock.advance(1.0)
        assert world.probe(one)
        other.circuit.reset()
        other.sync()
        # It does not know yet that the state it probes is over.
        one.tickets.pop()[0].failure()
        assert one.circuit.state is OPEN
        world.quiet()
        assert states(world) == [CLOSED, CLOSED]
        assert world.record.failed == 0

    play(test)


def test_an_operators_newest_word_is_everyones(play):
    def test(world, one, other):
        one.circuit.force_open(300.0)
        world.quiet()
        assert states(world) == [OPEN, OPEN]
        assert other.circuit.retry_after() == pytest.approx(300.0)
        world.clock.advance(1.0)
        other.circuit.reset()
        other.circuit.force_close(50.0)
        world.quiet()
        assert states(world) == [CLOSED, CLOSED]
        assert one.circuit.snapshot().held_closed
        one.call()
        one.tickets[-1][0].failure()
        one.call()
        one.tickets[-1][0].failure()
        world.quiet()
        assert states(world) == [CLOSED, CLOSED]
        one.circuit.force_open(float("inf"))
        world.quiet()
        world.clock.advance(10_000.0)
        assert not world.probe(other)
        other.circuit.reset()
        world.quiet()
        assert states(world) == [CLOSED, CLOSED]

    play(test)


def test_a_word_that_was_taken_and_not_answered_is_not_taken_again(play):
    def test(world, one, other):
        one.circuit.force_open(300.0)
        one.sync(answer_lost=True)
        world.clock.advance(0.1)
        other.circuit.reset()
        other.sync()
        world.quiet()
        assert states(world) == [CLOSED, CLOSED]

    play(test)


def test_without_the_store_each_is_its_own_and_says_so_and_the_later_end_holds_after(play):
    def test(world, one, other):
        world.open(one)
        one.cut = other.cut = True
        world.clock.advance(0.5)
        for node in (one, other):
            node.sync()
            assert node.circuit.snapshot().shared is False
            assert "alone" in repr(node.circuit)
        world.clock.advance(0.5)
        assert one.call()
        one.tickets.pop()[0].failure()
        assert "this process alone says so" in str(pytest.raises(Exception, one.circuit.check).value)
        assert one.circuit.retry_after() == pytest.approx(2.0)
        assert other.call()
        other.tickets.pop()[0].success()
        assert states(world) == [OPEN, CLOSED]
        world.quiet()
        assert states(world) == [OPEN, OPEN]
        assert other.circuit.retry_after() == pytest.approx(2.0)

    play(test)


@pytest.mark.parametrize("opened_by", [0, 1])
def test_a_store_that_was_emptied_is_told_what_is_open_and_since_how_many_probes(play, opened_by):
    def test(world, *nodes):
        node = nodes[opened_by]
        world.open(node)
        world.clock.advance(1.0)
        assert world.probe(node)
        node.tickets.pop()[0].failure()
        world.quiet()
        world.store.forget()
        world.clock.advance(0.5)
        world.quiet()
        assert states(world) == [OPEN, OPEN]
        assert nodes[0].circuit.retry_after() == pytest.approx(1.5)
        world.clock.advance(1.5)
        assert world.probe(nodes[1])
        nodes[1].tickets.pop()[0].failure()
        assert nodes[1].circuit.retry_after() == pytest.approx(4.0)

    play(test)


def test_other_options_close_what_has_probes_enough(play):
    def test(world, one, other):
        world.open(one)
        world.clock.advance(1.0)
        assert world.probe(one)
        one.tickets.pop()[0].success()
        world.quiet()
        assert states(world) == [HALF_OPEN, HALF_OPEN]
        one.circuit.configure(type(world.config)(half_open_max_probes=1))
        world.quiet()
        assert states(world) == [CLOSED, CLOSED]

    play(test, probes=2)


def test_every_key_has_an_end_and_all_are_in_one_slot(play):
    def test(world, one, other):
        world.open(one)
        redis = world.store.redis
        keys = redis.keys(f"{world.store.settings.prefix}*")
        assert len(keys) == 3
        assert all(redis.pttl(key) > 0 for key in keys)
        assert all(b":{breakers}:" in key for key in keys)

    play(test)
