"""Actors in virtual time: order, answers, crashes and restarts, orderly stops."""

from __future__ import annotations

import asyncio
import gc
import logging

import msgspec
import pytest

from spillway.core.actor import Actor, ActorRef, ActorSystem, RestartPolicy
from spillway.core.clock import sleep
from spillway.core.errors import Backpressure, BadRequest, ConfigError, Timeout
from spillway.testing import run_virtual


class Add(msgspec.Struct, frozen=True):
    value: int
    delay_s: float = 0.0


class Fail(msgspec.Struct, frozen=True):
    error: BaseException


class Total(msgspec.Struct, frozen=True):
    pass


Msg = Add | Fail | Total


class Adder(Actor[Msg]):
    """Adds up numbers and keeps a diary."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.diary: list[tuple[float, str]] = []
        self.busy = 0

    def note(self, what: str) -> None:
        self.diary.append((round(asyncio.get_running_loop().time() - 1000.0, 6), what))

    async def on_start(self) -> None:
        self.note("start")

    async def on_restart(self, cause: Exception) -> None:
        self.note(f"restart {cause}")

    async def on_stop(self) -> None:
        self.note("stop")

    async def receive(self, message: Msg) -> int:
        self.busy += 1
        assert self.busy == 1, "two messages at once"
        try:
            match message:
                case Add(value, delay_s):
                    if delay_s:
                        await sleep(delay_s)
                    self.seen.append(value)
                case Fail(error):
                    raise error
                case Total():
                    pass
            return sum(self.seen)
        finally:
            self.busy -= 1


class SmallBox(Adder):
    mailbox_capacity = 2


class Fragile(Adder):
    restart_policy = RestartPolicy(initial_backoff_s=1.0, max_backoff_s=4.0, max_restarts=4, window_s=60.0)


def left_over() -> list[asyncio.Task]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def test_messages_are_handled_one_at_a_time_in_order():
    async def main():
        async with ActorSystem() as system:
            adder = Adder()
            ref = system.spawn(adder, "adder")
            for value in range(50):
                ref.tell(Add(value, delay_s=0.01 * (50 - value)))
            assert await ref.ask(Total(), timeout_s=60.0) == sum(range(50))
            assert adder.seen == list(range(50))

    run_virtual(main())


def test_an_ask_gets_its_own_answer_among_many():
    async def main():
        async with ActorSystem() as system:
            ref: ActorRef[Msg] = system.spawn(Adder(), "adder")
            assert await asyncio.gather(*(ref.ask(Add(1)) for _ in range(10))) == list(range(1, 11))

    run_virtual(main())


def test_a_late_answer_is_a_timeout_exactly_when_it_says_and_the_work_goes_on():
    async def main():
        loop = asyncio.get_running_loop()
        async with ActorSystem() as system:
            adder = Adder()
            ref = system.spawn(adder, "adder")
            with pytest.raises(Timeout) as error:
                await ref.ask(Add(1, delay_s=3.0), timeout_s=2.0)
            assert error.value.reason == "ask"
            assert loop.time() == 1002.0
            assert adder.seen == []
            assert await ref.ask(Total()) == 1

    run_virtual(main())


def test_an_ask_that_times_out_in_the_mailbox_is_never_handled():
    async def main():
        async with ActorSystem() as system:
            adder = Adder()
            ref = system.spawn(adder, "adder")
            ref.tell(Add(1, delay_s=3.0))
            with pytest.raises(Timeout):
                await ref.ask(Add(2), timeout_s=1.0)
            assert await ref.ask(Total()) == 1

    run_virtual(main())


def test_a_full_mailbox_refuses_and_a_cancelled_ask_gives_its_seat_back_at_once():
    async def main():
        async with ActorSystem() as system:
            box = SmallBox()
            ref = system.spawn(box, "box")
            ref.tell(Add(1, delay_s=1.0))
            await sleep(0)
            ref.tell(Add(2))
            asker = asyncio.create_task(ref.ask(Add(4)))
            await sleep(0)
            assert repr(ref) == "<ActorRef box running mailbox 2/2>"
            with pytest.raises(Backpressure) as error:
                ref.tell(Add(8))
            assert error.value.reason == "mailbox_full"
            asker.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asker
            assert repr(ref) == "<ActorRef box running mailbox 1/2>"
            ref.tell(Add(16))
            await sleep(2.0)
            assert box.seen == [1, 2, 16]

    run_virtual(main())


def test_an_asker_cancelled_while_its_message_is_handled_does_not_disturb_the_handler():
    async def main():
        async with ActorSystem() as system:
            adder = Adder()
            ref = system.spawn(adder, "adder")
            asker = asyncio.create_task(ref.ask(Add(1, delay_s=1.0)))
            await sleep(0.5)
            asker.cancel()
            await asyncio.wait({asker})
            assert asker.cancelled()
            assert await ref.ask(Total()) == 1
            assert [what for _, what in adder.diary] == ["start"]

    run_virtual(main())


@pytest.mark.parametrize("error", [BadRequest("no"), ConfigError("line 3: no")])
def test_an_error_that_is_an_answer_reaches_the_asker_and_crashes_nothing(error):
    async def main():
        async with ActorSystem() as system:
            adder = Adder()
            ref = system.spawn(adder, "adder")
            with pytest.raises(type(error)) as caught:
                await ref.ask(Fail(error))
            assert caught.value is error
            ref.tell(Fail(error))
            assert await ref.ask(Add(1)) == 1
            assert [what for _, what in adder.diary] == ["start"]

    run_virtual(main())


def test_a_crash_reaches_the_asker_and_restarts_after_a_backoff_that_doubles_to_its_cap():
    async def main():
        async with ActorSystem() as system:
            fragile = Fragile()
            ref = system.spawn(fragile, "fragile")
            for _ in range(4):
                with pytest.raises(KeyError):
                    await ref.ask(Fail(KeyError("x")))
                assert repr(ref) == "<ActorRef fragile restarting mailbox 0/1024>"
                # Kept during the backoff, handled after it.
                assert await ref.ask(Add(1)) == len(fragile.seen)
            assert fragile.diary == [
                (0.0, "start"),
                (1.0, "restart 'x'"),
                (3.0, "restart 'x'"),
                (7.0, "restart 'x'"),
                (11.0, "restart 'x'"),
            ]

    run_virtual(main())


def test_restarts_are_forgotten_after_the_window():
    async def main():
        async with ActorSystem() as system:
            fragile = Fragile()
            ref = system.spawn(fragile, "fragile")
            for _ in range(20):
                ref.tell(Fail(KeyError("x")))
                await sleep(61.0)
            assert await ref.ask(Add(1)) == 1
            assert len(fragile.diary) == 21

    run_virtual(main())


def test_a_top_actor_that_crashes_too_often_ends_and_says_so():
    async def main():
        async with ActorSystem("house") as system:
            fragile = Fragile()
            ref = system.spawn(fragile, "fragile")
            waiting = []
            for _ in range(5):
                ref.tell(Fail(KeyError("x")))
            waiting = [asyncio.create_task(ref.ask(Add(1), timeout_s=100.0)) for _ in range(3)]
            done, _ = await asyncio.wait(waiting)
            assert {task.exception().reason for task in done} == {"shutting_down"}
            await sleep(0.1)
            assert repr(ref) == "<ActorRef fragile failed mailbox 0/1024>"
            assert isinstance(system.failed["fragile"], KeyError)
            assert fragile.diary[-1][1] == "stop"
            assert repr(system) == "<ActorSystem house running actors 0 failed 1>"
            with pytest.raises(Backpressure):
                ref.tell(Add(1))
            assert await system.spawn(Adder(), "fragile").ask(Add(1)) == 1

    run_virtual(main())


class Parent(Actor[Msg]):
    """Has one fragile child, made anew on each start; passes on what it gets."""

    restart_policy = RestartPolicy(initial_backoff_s=0.5)

    def __init__(self) -> None:
        self.children: list[Fragile] = []

    async def on_start(self) -> None:
        self.children.append(Fragile())
        self.child = self.context.spawn(self.children[-1], "child")

    async def receive(self, message: Msg) -> object:
        return await self.child.ask(message)


def test_a_child_that_crashes_too_often_crashes_its_parent_which_makes_it_anew():
    async def main():
        async with ActorSystem() as system:
            parent = Parent()
            ref = system.spawn(parent, "parent")
            await sleep(0)
            assert parent.child.name == "parent/child"
            for _ in range(5):
                parent.child.tell(Fail(KeyError("x")))
            await sleep(20.0)
            assert len(parent.children) == 2
            assert parent.children[0].diary[-1][1] == "stop"
            assert await ref.ask(Add(7)) == 7
            assert not system.failed

    run_virtual(main())


def test_a_crashed_parent_takes_its_children_along():
    async def main():
        async with ActorSystem() as system:
            parent = Parent()
            ref = system.spawn(parent, "parent")
            assert await ref.ask(Add(7)) == 7
            with pytest.raises(KeyError):
                await ref.ask(Fail(KeyError("x")))
            assert await ref.ask(Add(1)) == 1
            assert [child.diary[-1][1] for child in parent.children] == ["stop", "start"]

    run_virtual(main())


def test_a_failing_start_is_a_crash_too():
    class Late(Adder):
        async def on_start(self) -> None:
            await super().on_start()
            if len(self.diary) < 3:
                raise OSError("not yet")

    async def main():
        async with ActorSystem() as system:
            late = Late()
            assert await system.spawn(late, "late").ask(Add(1)) == 1
            assert late.diary == [(0.0, "start"), (0.1, "start"), (0.3, "start")]

    run_virtual(main())


def test_awaiting_something_cancelled_is_a_crash_and_not_the_end():
    class Careless(Adder):
        async def receive(self, message: Msg) -> int:
            if isinstance(message, Total):
                gone = asyncio.get_running_loop().create_future()
                gone.cancel()
                await gone
            return await super().receive(message)

    async def main():
        async with ActorSystem() as system:
            ref = system.spawn(Careless(), "careless")
            with pytest.raises(RuntimeError, match="cancelled"):
                await ref.ask(Total())
            assert await ref.ask(Add(1)) == 1

    run_virtual(main())


def test_an_orderly_stop_drains_the_mailbox_and_takes_nothing_more():
    async def main():
        system = ActorSystem()
        system.start()
        adder = Adder()
        ref = system.spawn(adder, "adder")
        asks = [asyncio.create_task(ref.ask(Add(1, delay_s=1.0))) for _ in range(3)]
        await sleep(0)
        closing = asyncio.create_task(system.aclose(drain_s=10.0))
        await sleep(0)
        with pytest.raises(Backpressure) as error:
            ref.tell(Add(1))
        assert error.value.reason == "shutting_down"
        with pytest.raises(RuntimeError):
            system.spawn(Adder(), "more")
        await closing
        assert asyncio.get_running_loop().time() == 1003.0
        assert [task.result() for task in asks] == [1, 2, 3]
        assert adder.diary[-1] == (3.0, "stop")
        assert not left_over()
        await system.aclose()
        assert repr(system) == "<ActorSystem spillway closed actors 0>"

    run_virtual(main())


def test_what_is_not_drained_in_time_is_cancelled_and_its_asks_fail():
    async def main():
        system = ActorSystem()
        adder = Adder()
        ref = system.spawn(adder, "adder")
        asks = [asyncio.create_task(ref.ask(Add(1, delay_s=30.0), timeout_s=100.0)) for _ in range(3)]
        await sleep(0)
        await system.aclose(drain_s=10.0)
        assert asyncio.get_running_loop().time() == 1010.0
        await asyncio.wait(asks)
        assert [task.exception().reason for task in asks] == ["shutting_down"] * 3
        assert adder.seen == []
        assert adder.diary[-1] == (10.0, "stop")
        assert not left_over()

    run_virtual(main())


def test_a_stop_of_an_actor_in_backoff_ends_it_at_once():
    async def main():
        system = ActorSystem()
        fragile = Fragile()
        ref = system.spawn(fragile, "fragile")
        ref.tell(Fail(KeyError("x")))
        await sleep(0.5)
        await system.aclose(drain_s=100.0)
        assert asyncio.get_running_loop().time() == 1000.5
        assert [what for _, what in fragile.diary] == ["start", "stop"]
        assert not left_over()

    run_virtual(main())


def test_the_parent_drains_before_its_children_end():
    async def main():
        async with ActorSystem() as system:
            parent = Parent()
            ref = system.spawn(parent, "parent")
            asks = [asyncio.create_task(ref.ask(Add(1, delay_s=1.0))) for _ in range(3)]
            await sleep(0)
            await system.stop("parent", drain_s=10.0)
            assert [task.result() for task in asks] == [1, 2, 3]
            assert parent.children[0].diary[-1] == (3.0, "stop")
            await system.stop("nobody")

    run_virtual(main())


def test_a_child_can_be_stopped_alone():
    async def main():
        async with ActorSystem() as system:
            parent = Parent()
            ref = system.spawn(parent, "parent")
            assert await ref.ask(Add(1)) == 1
            assert parent.context.ref.name == "parent"
            await parent.context.stop_child("child")
            with pytest.raises(Backpressure):
                await ref.ask(Add(1))
            assert parent.children[0].diary[-1][1] == "stop"

    run_virtual(main())


def test_a_hook_that_hangs_or_fails_does_not_hold_up_the_end():
    class Clinging(Adder):
        async def on_stop(self) -> None:
            await sleep(1e6)

    class Breaking(Adder):
        async def on_stop(self) -> None:
            raise OSError("too late")

    async def main():
        system = ActorSystem()
        refs = [system.spawn(Clinging(), "clinging"), system.spawn(Breaking(), "breaking")]
        await sleep(0)
        await system.aclose(drain_s=3.0)
        assert asyncio.get_running_loop().time() <= 1004.0
        assert [repr(ref).split()[2] for ref in refs] == ["stopped", "stopped"]
        assert not left_over()

    run_virtual(main())


def test_a_handler_that_swallows_its_cancellation_ends_after_the_message():
    class Deaf(Adder):
        async def receive(self, message: Msg) -> int:
            try:
                return await super().receive(message)
            except asyncio.CancelledError:
                return -1

    async def main():
        system = ActorSystem()
        ref = system.spawn(Deaf(), "deaf")
        asks = [asyncio.create_task(ref.ask(Add(1, delay_s=50.0), timeout_s=100.0)) for _ in range(2)]
        await sleep(0)
        await system.aclose(drain_s=1.0)
        await asyncio.wait(asks)
        assert asks[0].result() == -1
        assert asks[1].exception().reason == "shutting_down"
        assert not left_over()

    run_virtual(main())


def test_a_cancelled_close_cancels_everybody_and_leaves_nobody():
    async def main():
        system = ActorSystem()
        parent = Parent()
        ref = system.spawn(parent, "parent")
        ask = asyncio.create_task(ref.ask(Add(1, delay_s=500.0), timeout_s=1000.0))
        await sleep(0.1)
        closing = asyncio.create_task(system.aclose(drain_s=100.0))
        await sleep(1.0)
        closing.cancel()
        await asyncio.wait({closing, ask})
        assert closing.cancelled()
        assert ask.exception().reason == "shutting_down"
        assert asyncio.get_running_loop().time() == 1001.1
        assert parent.children[0].diary[-1][1] == "stop"
        assert not left_over()

    run_virtual(main())


def test_a_loop_that_ends_without_a_close_leaves_no_complaint(caplog):
    caplog.set_level(logging.DEBUG)
    adder = Adder()

    async def main():
        ref = ActorSystem().spawn(adder, "adder")
        ref.tell(Add(1, delay_s=100.0))
        await sleep(1.0)

    run_virtual(main())
    gc.collect()
    assert adder.diary[-1][1] == "stop"
    assert "asyncio" not in {record.name for record in caplog.records if record.levelno >= logging.WARNING}


def test_an_actor_cancelled_before_its_first_step_never_starts_and_is_stopped():
    async def main():
        system = ActorSystem()
        adder = Adder()
        ref = system.spawn(adder, "adder")
        ask = asyncio.create_task(ref.ask(Add(1)))
        for task in left_over():
            if task is not ask:
                task.cancel()
        await asyncio.wait({ask})
        assert ask.exception().reason == "shutting_down"
        assert adder.diary == []
        assert repr(ref) == "<ActorRef adder stopped mailbox 0/1024>"
        assert repr(system) == "<ActorSystem spillway running actors 0>"

    run_virtual(main())


def test_a_crash_while_it_ends_fails_the_rest():
    async def main():
        system = ActorSystem()
        adder = Adder()
        ref = system.spawn(adder, "adder")
        asks = [asyncio.create_task(ref.ask(message)) for message in (Add(1, delay_s=1.0), Fail(KeyError("x")), Add(2))]
        await sleep(0)
        await system.aclose(drain_s=10.0)
        await asyncio.wait(asks)
        assert asks[0].result() == 1
        assert isinstance(asks[1].exception(), KeyError)
        assert asks[2].exception().reason == "shutting_down"
        assert asyncio.get_running_loop().time() == 1001.0
        assert [what for _, what in adder.diary] == ["start", "stop"]

    run_virtual(main())


def test_a_handler_that_never_ends_is_given_up_and_reported(caplog):
    caplog.set_level(logging.ERROR, logger="spillway.actor")
    release = []

    class Immortal(Adder):
        async def receive(self, message: Msg) -> int:
            while not release:
                try:
                    await sleep(1000.0)
                except asyncio.CancelledError:
                    continue
            return 0

    async def main():
        system = ActorSystem()
        system.spawn(Immortal(), "immortal").tell(Total())
        await sleep(0)
        await system.aclose(drain_s=1.0)
        assert asyncio.get_running_loop().time() == 1004.0
        assert "immortal does not end" in caplog.text
        release.append(True)
        await asyncio.wait(left_over())

    run_virtual(main())


def test_an_exit_from_a_handler_leaves_the_loop_and_nobody_waiting():
    async def main(asks: list):
        ref = ActorSystem().spawn(Adder(), "adder")
        asks.append(asyncio.ensure_future(ref.ask(Fail(SystemExit(3)))))
        await sleep(10.0)

    asks: list = []
    with pytest.raises(SystemExit):
        run_virtual(main(asks))
    assert asks[0].done()


def test_names_are_unique_among_the_living_and_have_no_slash():
    async def main():
        async with ActorSystem() as system:
            system.spawn(Adder(), "a")
            for name in ("a", "", "a/b"):
                with pytest.raises(ValueError):
                    system.spawn(Adder(), name)
            await system.stop("a")
            again = system.spawn(Adder(), "a")
            await sleep(0.1)
            assert await again.ask(Add(1)) == 1
            with pytest.raises(ValueError):
                system.spawn(Adder(), "a")

    run_virtual(main())


def test_an_actor_system_belongs_to_one_loop():
    system = ActorSystem()
    with pytest.raises(RuntimeError):
        system.start()

    async def bind():
        system.start()
        system.start()

    run_virtual(bind())
    with pytest.raises(RuntimeError, match="another event loop"):
        run_virtual(bind())


def test_no_new_children_once_an_actor_winds_down():
    class Undying(Adder):
        async def on_stop(self) -> None:
            with pytest.raises(RuntimeError):
                self.context.spawn(Adder(), "child")
            await super().on_stop()

    async def main():
        undying = Undying()
        async with ActorSystem() as system:
            await system.spawn(undying, "undying").ask(Total())
        assert undying.diary[-1][1] == "stop"
        assert not left_over()

    run_virtual(main())


def test_the_context_names_the_actor_itself():
    class Echo(Adder):
        async def receive(self, message: Msg) -> int:
            if isinstance(message, Total):
                self.context.ref.tell(Add(5))
                return 0
            return await super().receive(message)

    async def main():
        echo = Echo()
        async with ActorSystem() as system:
            await system.spawn(echo, "echo").ask(Total())
            await sleep(0)
            assert echo.seen == [5]

    run_virtual(main())
