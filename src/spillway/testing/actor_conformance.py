"""What every `ActorRef` must do, wherever its actor lives, as checks.

A check is an async function of an `ActorSubject` that raises AssertionError. With pytest:

    @pytest.mark.parametrize("check", ACTOR_CHECKS, ids=lambda check: check.__name__)
    async def test_my_actors(check):
        async with ActorSystem() as system:
            await check(ActorSubject(spawn=lambda factory, name: system.spawn(factory(), name), stop=system.stop))

Factories and messages can be pickled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec

from spillway.core.actor import ActorRef
from spillway.core.errors import Backpressure, ConfigError, InferenceError, Timeout
from spillway.testing.actor_probe import (
    Cancel,
    Crash,
    CrashingActor,
    Echo,
    Fail,
    Nap,
    Note,
    Notes,
    ProbeActor,
    SmallActor,
    State,
    every_error,
    fields_of,
)

__all__ = [
    # running them
    "ACTOR_CHECKS",
    "ActorSubject",
    # answers and order
    "answers_what_the_handler_returns",
    "handles_messages_in_the_order_they_were_sent",
    "handles_one_message_at_a_time",
    # what goes wrong
    "brings_errors_back_as_themselves",
    "starts_again_after_a_crash",
    "fails_clearly_once_it_has_crashed_too_often",
    "times_out",
    "forgets_a_message_that_nobody_waits_for",
    "refuses_what_its_mailbox_can_not_hold",
    # the end
    "handles_what_it_has_before_it_stops",
]

_PATIENT_S = 30.0


class ActorSubject(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked.

    Attributes:
        spawn: `spawn(factory, name)` starts the actor that `factory()` makes.
        stop: `await stop(name)` ends it in order.
    """

    spawn: Callable[[Callable[[], Any], str], ActorRef[Any]]
    stop: Callable[[str], Awaitable[None]]


async def answers_what_the_handler_returns(subject: ActorSubject) -> None:
    """An ask returns what the handler returns, several askers each their own."""
    probe = subject.spawn(ProbeActor, "probe")
    _require(probe.name == "probe", f"its name is {probe.name!r}")
    value = {"text": "ä", "list": [1, 2.5, None], "bytes": b"\xff"}
    _require(await _ask(probe, Echo(value)) == value, "another answer than the handler's")
    answers = await asyncio.gather(*(_ask(probe, Echo(i)) for i in range(50)))
    _require(answers == list(range(50)), f"answers went astray: {answers}")
    await subject.stop("probe")


async def handles_messages_in_the_order_they_were_sent(subject: ActorSubject) -> None:
    """Tells and asks of one reference are handled in one order, that of sending."""
    probe = subject.spawn(ProbeActor, "probe")
    asks = []
    for i in range(300):
        if i % 7 == 3:
            asks.append(asyncio.ensure_future(_ask(probe, Note(i))))
            await asyncio.sleep(0)  # noqa: TID251 - so that it is sent before the next
        else:
            probe.tell(Note(i))
    await asyncio.gather(*asks)
    notes = await _ask(probe, Notes())
    _require(notes == list(range(300)), f"out of order: {notes}")
    await subject.stop("probe")


async def handles_one_message_at_a_time(subject: ActorSubject) -> None:
    """No message is taken before the one before it is handled to its end."""
    probe = subject.spawn(ProbeActor, "probe")
    await asyncio.gather(*(_ask(probe, Nap(0.002)) for _ in range(20)))
    state = await _ask(probe, State())
    _require(state.overlaps == 0, f"{state.overlaps} messages were taken while another was handled")
    await subject.stop("probe")


async def brings_errors_back_as_themselves(subject: ActorSubject) -> None:
    """Every InferenceError arrives with its class and all its fields, a ConfigError too; the actor goes on."""
    probe = subject.spawn(ProbeActor, "probe")
    for error in every_error():
        caught = await _error(probe, Fail(error))
        _require(type(caught) is type(error), f"{error!r} came as {caught!r}")
        _require(str(caught) == str(error), f"{error} came as {caught}")
        if isinstance(error, InferenceError):
            _require(fields_of(caught) == fields_of(error), f"fields of {type(error).__name__} were lost")
    caught = await _error(probe, Fail(ConfigError("a wrong option")))
    _require(type(caught) is ConfigError and str(caught) == "a wrong option", f"came as {caught!r}")
    state = await _ask(probe, State())
    _require(state.starts == 1, "an error that is an answer started the actor again")
    await subject.stop("probe")


async def starts_again_after_a_crash(subject: ActorSubject) -> None:
    """Another exception goes to the asker as itself, and the actor starts again with what was in its mailbox."""
    probe = subject.spawn(ProbeActor, "probe")
    crash = asyncio.ensure_future(_error(probe, Crash("it broke")))
    await asyncio.sleep(0)  # noqa: TID251 - so that it is sent before the next
    probe.tell(Note("kept"))
    caught = await crash
    _require(type(caught) is RuntimeError and str(caught) == "it broke", f"the crash came as {caught!r}")
    _require(await _ask(probe, Notes()) == ["kept"], "the mailbox was lost in the crash")
    state = await _ask(probe, State())
    _require(state.starts == 2, f"started {state.starts} times")
    await subject.stop("probe")


async def fails_clearly_once_it_has_crashed_too_often(subject: ActorSubject) -> None:
    """Once its restarts are used up, an ask and then a tell are refused with Backpressure."""
    probe = subject.spawn(CrashingActor, "probe")
    for _ in range(2):
        await _error(probe, Crash("again"))
    await _refused(probe)
    with suppress(Exception):
        await subject.stop("probe")


async def times_out(subject: ActorSubject) -> None:
    """An ask that is not answered in time raises Timeout, and the message after it is handled."""
    probe = subject.spawn(ProbeActor, "probe")
    await _ask(probe, Echo("it is there"))
    caught: BaseException | None = None
    try:
        await probe.ask(Nap(0.6), 0.2)
    except Timeout as error:
        caught = error
    _require(isinstance(caught, Timeout) and caught.reason == "ask", f"no Timeout: {caught!r}")
    _require(await _ask(probe, Echo(1)) == 1, "it does not go on")
    await subject.stop("probe")


async def forgets_a_message_that_nobody_waits_for(subject: ActorSubject) -> None:
    """A cancelled ask whose message was not taken yet is never handled; one that is being handled is, to its end."""
    probe = subject.spawn(ProbeActor, "probe")
    nap = asyncio.ensure_future(_ask(probe, Nap(0.5)))
    ask = asyncio.ensure_future(_ask(probe, Note("never")))
    await asyncio.sleep(0.1)  # noqa: TID251 - both are on their way, the first is being handled
    for each in (nap, ask):
        each.cancel()
    await asyncio.wait({nap, ask})
    probe.tell(Note("after"))
    _require(await _ask(probe, Notes()) == ["after"], "a message that was taken back was handled")
    state = await _ask(probe, State())
    _require(state.naps == 1, "a message that was being handled was broken off")
    await subject.stop("probe")


async def refuses_what_its_mailbox_can_not_hold(subject: ActorSubject) -> None:
    """A reference takes a bounded number of messages that are not handled, then raises Backpressure."""
    probe = subject.spawn(SmallActor, "probe")
    nap = asyncio.ensure_future(_ask(probe, Nap(0.5)))
    await asyncio.sleep(0.05)  # noqa: TID251 - it is being handled
    taken, refusal = 0, None
    while refusal is None and taken < 20 * SmallActor.mailbox_capacity:
        try:
            probe.tell(Note(taken))
            taken += 1
        except Backpressure as error:
            refusal = error
        await asyncio.sleep(0.001)  # noqa: TID251 - time for what carries it
    _require(refusal is not None, f"{taken} messages were taken for a mailbox of {SmallActor.mailbox_capacity}")
    _require(getattr(refusal, "reason", "") == "mailbox_full", f"refused with {refusal!r}")
    await nap
    notes = await _ask_with_room(probe, Notes())
    _require(notes == list(range(taken)), f"what was taken was not handled: {notes}")
    await subject.stop("probe")


async def handles_what_it_has_before_it_stops(subject: ActorSubject) -> None:
    """Stopped, it handles what it was sent before, then refuses; an ask of it fails clearly."""
    probe = subject.spawn(ProbeActor, "probe")
    naps = [asyncio.ensure_future(_ask(probe, Nap(0.01))) for _ in range(10)]
    await asyncio.sleep(0.05)  # noqa: TID251 - they are on their way
    await subject.stop("probe")
    done = await asyncio.gather(*naps, return_exceptions=True)
    _require(done == [None] * 10, f"not all were handled: {done}")
    await _refused(probe)


ACTOR_CHECKS = (
    answers_what_the_handler_returns,
    handles_messages_in_the_order_they_were_sent,
    handles_one_message_at_a_time,
    brings_errors_back_as_themselves,
    starts_again_after_a_crash,
    fails_clearly_once_it_has_crashed_too_often,
    times_out,
    forgets_a_message_that_nobody_waits_for,
    refuses_what_its_mailbox_can_not_hold,
    handles_what_it_has_before_it_stops,
)
"""All of them."""


async def _ask(probe: ActorRef[Any], message: Any) -> Any:
    return await probe.ask(message, _PATIENT_S)


async def _ask_with_room(probe: ActorRef[Any], message: Any) -> Any:
    """Ask once there is room in the mailbox."""
    while True:
        try:
            return await _ask(probe, message)
        except Backpressure as error:
            if error.reason != "mailbox_full":
                raise
        await asyncio.sleep(0.01)  # noqa: TID251 - time for what is in it


async def _error(probe: ActorRef[Any], message: Any) -> BaseException:
    try:
        answer = await _ask(probe, message)
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return error
    raise AssertionError(f"{message!r} was answered with {answer!r}")


async def _refused(probe: ActorRef[Any]) -> None:
    """Require that an ask, then a tell, is refused because the actor is no more."""
    caught = await _error(probe, Echo(1))
    _require(isinstance(caught, Backpressure) and caught.reason == "shutting_down", f"an ask failed with {caught!r}")
    try:
        probe.tell(Cancel())
    except Backpressure as error:
        _require(error.reason == "shutting_down", f"a tell was refused with {error!r}")
    else:
        raise AssertionError("a tell to an actor that is no more was taken")


def _require(condition: object, message: str) -> None:
    if not condition:
        raise AssertionError(message)
