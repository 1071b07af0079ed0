"""Whose failure it is, and how many lines may find out."""

import pytest

from spillway.batch.chronicle import Chronicle
from spillway.batch.lane import Item, Lane
from spillway.batch.lines import Line
from spillway.batch.pace import Pace
from spillway.batch.spend import RUN_CAP
from spillway.batch.targets import Targets
from spillway.batch.verdict import Circumstances, Fail, Failures, Stop, Wait
from spillway.core.errors import (
    Backpressure,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    ContentFiltered,
    ContextLengthExceeded,
    Forbidden,
    ModelNotFound,
    NetworkError,
    QuotaExhausted,
    RateLimited,
    ServerError,
    StreamInterrupted,
    Timeout,
    Unauthorized,
)
from spillway.core.options import Deployment, RetryPolicy
from spillway.core.request import GenerateRequest


def target(**options):
    retries = options.pop("max_retries", 3)
    return Targets([Deployment(name="m", retry=RetryPolicy(max_retries=retries), **options)]).resolve("m")


class Case:
    """One line, failing at the instants that a test says, among others that are served."""

    def __init__(self, **options):
        self.target = target(**options)
        self.line = Failures()
        self.served = Chronicle()

    def serve(self, *begun, for_s=0.05):
        for at in begun:
            self.served.answered("m", at, at + for_s)

    def fails(self, error, *at, began=0.0, sent=True, alone=False, others=()):
        for when in sorted((*at, *others)):
            if when in others or self.line.sent(error.code, when - (error.elapsed_s or 0.01), when):
                self.served.failed("m", when)
        error.sent = sent and bool(at)
        error.attempts = len(at)
        now = at[-1] if at else began + 1.0
        return self.line.judge(
            error, Circumstances(target=self.target, chronicle=self.served, began=began, now=now, alone=alone)
        )


@pytest.mark.parametrize("error", [BadRequest("x"), ContentFiltered("x"), ContextLengthExceeded("x")])
def test_what_is_final_by_its_class_fails(error):
    assert Case().fails(error, 1.0) == Fail()


def test_a_failure_of_our_own_runner_fails():
    assert Case().fails(ServerError("bug", reason="runner", retryable=False), 1.0) == Fail()


@pytest.mark.parametrize("error", [RateLimited("x"), Backpressure("x"), CircuitOpen("x"), BudgetExceeded("x")])
def test_a_refusal_waits_and_costs_no_attempt_however_often(error):
    case = Case(max_retries=0)
    for at in range(1, 50):
        case.serve(at)
        assert isinstance(case.fails(error, began=float(at)), Wait)
    assert (case.line.count, case.line.attempts) == (0, 0)


def test_limits_do_not_hold_the_lane_up_and_a_circuit_does():
    assert not Case().fails(RateLimited("x", reason="queue_timeout")).lane
    assert Case().fails(CircuitOpen("x")).lane
    # The provider's own 429s do while it answers nobody.
    assert Case().fails(RateLimited("x"), 1.0).lane
    case = Case()
    case.serve(0.5)
    assert not case.fails(RateLimited("x"), 1.0).lane


def test_the_runs_own_cap_stops_it():
    assert Case().fails(BudgetExceeded("x", reason=RUN_CAP)) == Stop()
    error = ServerError("x")
    error.refusal = BudgetExceeded("x", reason=RUN_CAP)
    assert Case().fails(error, 1.0) == Stop()


def test_enough_failures_among_others_that_are_served_fail_the_line():
    case = Case()
    case.serve(1.5)
    assert case.fails(ServerError("x"), 1.0, 2.0, 3.0, 4.0) == Fail()


def test_the_same_failures_in_an_outage_wait_and_their_count_restarts():
    case = Case()
    # Begun before the provider went down and answered after the line's first failure, while all others fail.
    case.serve(0.9, for_s=0.2)
    verdict = case.fails(ServerError("x"), 1.0, 2.0, 3.0, 4.0, others=(1.3, 2.5, 3.3))
    assert isinstance(verdict, Wait) and verdict.lane
    assert case.line.count == 0
    # It is over: others are served, the line fails once more.
    case.serve(6.0)
    verdict = case.fails(ServerError("x"), 7.0, began=6.5)
    assert isinstance(verdict, Wait)
    assert not case.line.was_its_own(case.target, case.served)


def test_who_was_served_meanwhile_may_turn_out_later():
    case = Case()
    assert isinstance(case.fails(ServerError("x"), 1.0, 2.0, 3.0, 4.0), Wait)
    assert not case.line.was_its_own(case.target, case.served)
    # A slow answer to an attempt that was begun between the line's failures.
    case.serve(2.5)
    assert case.line.was_its_own(case.target, case.served)


def test_a_line_that_alone_fails_among_those_begun_with_it_fails():
    case = Case()
    # Begun in the same instant as the line's first attempt, answered after that had failed.
    case.serve(0.99, for_s=0.3)
    assert case.fails(ServerError("x"), 1.0, 2.0, 3.0, 4.0, others=(1.3, 2.5, 3.3, 3.5)) == Fail()
    case = Case()
    # Begun before it, but nobody else fails.
    case.serve(0.7, for_s=0.9)
    assert case.fails(ServerError("x"), 1.0, 2.0, 3.0, 4.0) == Fail()


def test_alone_at_the_provider_a_line_is_judged_by_the_time_since_it_failed_before():
    case = Case()
    assert isinstance(case.fails(ServerError("x"), 1.0, 2.0, 3.0, 4.0), Wait)
    case.serve(5.0)
    assert case.fails(ServerError("x"), 6.0, 7.0, 8.0, 9.0, began=5.5) == Fail()


def test_without_retries_the_second_failure_decides():
    case = Case(max_retries=0)
    assert isinstance(case.fails(NetworkError("x"), 1.0), Wait)
    case.serve(1.5)
    assert case.fails(NetworkError("x"), 2.0, began=1.7) == Fail()
    case = Case(max_retries=0)
    for at in range(1, 20):
        assert isinstance(case.fails(NetworkError("x"), float(at), began=at - 0.5), Wait)


def test_an_open_circuit_forgives_what_failed_before_it():
    case = Case()
    case.serve(0.5, 1.5, 2.5)
    error = ServerError("x")
    error.refusal = CircuitOpen("x", retry_after=2.0)
    verdict = case.fails(error, 1.0, 2.0, 3.0)
    assert verdict == Wait(delay_s=2.0, lane=True, reason="circuit_open")
    assert case.line.count == 0
    assert isinstance(case.fails(ServerError("x"), 9.0, began=8.0), Wait)


def test_failures_before_an_exhausted_retry_quota_do_not_count():
    case = Case()
    for at in range(1, 30):
        case.serve(at - 0.1)
        verdict = case.fails(ServerError("x"), float(at), began=at - 0.5)
        assert isinstance(verdict, Wait) and not verdict.lane
    assert case.line.count == 0 and case.line.attempts == 29


@pytest.mark.parametrize("kind", [Unauthorized, Forbidden, QuotaExhausted, ModelNotFound])
def test_a_denial_is_the_lines_own_only_when_others_were_answered_since(kind):
    case = Case()
    verdict = case.fails(kind("x"), 1.0, began=0.5)
    assert isinstance(verdict, Wait) and verdict.lane
    # An answer to an attempt that was begun before the denial says nothing while others are denied too.
    case.serve(0.9, for_s=0.5)
    case.served.denied("m", 1.2)
    assert isinstance(case.fails(kind("x"), 2.0, began=1.5), Wait)
    case.serve(2.5)
    assert case.fails(kind("x"), 3.0, began=2.7) == Fail()


def test_the_only_line_that_is_denied_while_others_are_answered_fails():
    case = Case()
    assert isinstance(case.fails(Forbidden("x"), 1.0, began=0.9), Wait)
    case.serve(0.95, for_s=0.2)
    # Twice may be a key that has just died: what was under way then is answered still.
    assert isinstance(case.fails(Forbidden("x"), 2.0, began=1.5), Wait)
    assert case.fails(Forbidden("x"), 3.0, began=2.5) == Fail()


def test_a_denial_while_others_are_answered_holds_nobody_else_up():
    case = Case()
    case.serve(0.7)
    verdict = case.fails(Forbidden("x"), 1.0, began=0.5)
    assert isinstance(verdict, Wait) and not verdict.lane


def test_what_may_have_been_billed_is_not_repeated_while_others_are_served():
    def hung():
        return Timeout("x", reason="unary", retryable=False, elapsed_s=100.0)

    case = Case()
    case.serve(180.0)
    assert case.fails(hung(), 200.0, began=100.0) == Fail()
    case = Case()
    # Answered early in the time it hung, then nobody: an outage.
    case.serve(120.0)
    verdict = case.fails(hung(), 200.0, began=100.0)
    assert isinstance(verdict, Wait) and case.line.count == 0
    case.serve(250.0)
    assert case.fails(hung(), 400.0, began=300.0) == Fail()
    # All others are through.
    case = Case()
    case.serve(101.0)
    assert case.fails(hung(), 200.0, began=100.0, alone=True) == Fail()
    assert isinstance(Case().fails(hung(), 200.0, began=100.0, alone=True), Wait)


def test_a_code_that_is_not_to_be_retried_is_not_repeated_either():
    case = Case()
    case.target = Targets([Deployment(name="m", retry=RetryPolicy(retry_on=("rate_limited",)))]).resolve("m")
    case.serve(1.8)
    assert case.fails(ServerError("x", elapsed_s=1.0), 2.0, began=1.0) == Fail()


def test_what_is_not_idempotent_is_never_sent_twice_but_a_refusal_is_no_send():
    case = Case(idempotent=False)
    assert isinstance(case.fails(RateLimited("x"), 1.0), Wait)
    assert isinstance(case.fails(CircuitOpen("x")), Wait)
    assert case.fails(ServerError("x"), 2.0) == Fail()


def test_an_interrupted_stream_is_sent_again_until_its_attempts_are_spent():
    case = Case(max_retries=1)
    case.serve(0.5, 1.5)
    verdict = case.fails(StreamInterrupted("x"), 1.0)
    assert isinstance(verdict, Wait) and case.line.count == 1
    assert case.fails(StreamInterrupted("x"), 2.0, began=1.2) == Fail()


def test_a_deadline_in_the_queue_costs_nothing():
    case = Case()
    error = Timeout("x", reason="queue", retryable=False)
    for _ in range(10):
        assert isinstance(case.fails(error), Wait)
    assert case.line.count == 0


def test_failures_of_an_earlier_process_count():
    case = Case()
    case.line = Failures(3, now=10.0)
    case.serve(10.5)
    assert case.fails(ServerError("x"), 11.0, began=10.2) == Fail()
    assert case.line.attempts == 4


def test_waits_grow_and_are_bounded_and_obey_the_provider():
    case = Case()
    delays = [case.fails(RateLimited("x")).delay_s for _ in range(12)]
    assert delays[0] == 0.05 and delays == sorted(delays) and delays[-1] == 5.0
    assert Case().fails(RateLimited("x", retry_after=3.0)).delay_s == 3.0
    assert Case().fails(RateLimited("x", retry_after=300.0)).delay_s == 5.0


def test_the_chronicle_is_exact_at_its_newest_end_and_bounded():
    log = Chronicle()
    for i in range(100_000):
        at = i * 0.0001
        log.answered("m", at, at)
        assert i % 1000 or log.begun_between(("m",), at - 1e-9, at)
    assert len(log._answers["m"].begun) < 12_000
    assert not log.begun_between(("n",), 0.0, 10.0)
    assert not log.begun_between(("m",), 10.0, 20.0)
    assert log.outlived(("m",), 5.0, 9.9, 10.0) and not log.outlived(("m",), 5.0, 9.9, 9.8)
    assert log.answers(("m", "n"), 1.0, 2.0) == pytest.approx(10_000, abs=1)
    for _ in range(5):
        for _ in range(100_000):
            log.failed("m", 11.0)
    assert len(log._failed["m"]._at) <= 200_000
    log.answered("m", 5000.0, 5000.0)
    log.answered("m", 0.5, 5000.0)
    assert len(log._answers["m"].begun) == len(log._answers["m"].ended) < 5


def test_in_trouble_one_line_at_a_time_finds_out_and_answers_let_more_go():
    pace = Pace(4)
    assert all(pace.may_start(n, 0.0) for n in range(4)) and not pace.may_start(4, 0.0)
    for _ in range(4):
        pace.trouble(10.0, 0.05, "circuit_open")
    assert not pace.may_start(0, 10.04)
    assert pace.may_start(0, 10.051) and not pace.may_start(1, 10.051)
    pauses = []
    now = 10.06
    for _ in range(9):
        pace.trouble(now, 0.0, "circuit_open")
        pauses.append(round(pace.closed_until - now, 3))
        now = pace.closed_until
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    pace.answered()
    assert pace.reason is None and pace.allowed == 2
    pace.answered()
    pace.answered()
    pace.answered()
    assert pace.allowed == 4


def test_news_let_one_line_find_out_sooner():
    pace = Pace(4)
    pace.trouble(10.0, 5.0, "circuit_open")
    assert not pace.may_start(0, 11.0)
    pace.hurry(11.0)
    assert pace.may_start(0, 11.0) and not pace.may_start(1, 11.0)


class Timers:
    def __init__(self):
        self.now, self.at = 0.0, None

    def time(self):
        return self.now

    def call_at(self, at, _):
        self.at = at
        return self

    def cancel(self):
        self.at = None


def item(number):
    line = Line(number=number, custom_id=str(number), model=None, request=GenerateRequest())
    return Item(line, None, Failures())


def test_a_lane_starts_lines_in_the_order_of_the_input():
    lane = Lane(target(), loop := Timers(), lambda: None)
    for number in (3, 1, 2):
        lane.push(item(number))
    late = item(0)
    lane.push(late, not_before=5.0)
    assert [lane.pop(0.0, beside=0).number for _ in range(3)] == [1, 2, 3]
    assert lane.pop(0.0, beside=0) is None
    lane.arm(0.0)
    assert loop.at == 5.0
    assert lane.pop(5.0, beside=0) is late and len(lane) == 0


def test_in_trouble_who_has_waited_least_often_goes_first():
    lane = Lane(target(), loop := Timers(), lambda: None)
    poison = item(1)
    poison.failures.waits = 2
    for each in (poison, item(2), item(3)):
        lane.push(each)
    lane.pace.trouble(0.0, 0.05, "server_error")
    assert lane.pop(0.0, beside=0) is None
    lane.arm(0.0)
    assert loop.at == pytest.approx(0.05)
    assert [lane.pop(1.0, beside=0).number for _ in range(3)] == [2, 3, 1]


def test_a_lane_that_is_cleared_wakes_nobody():
    lane = Lane(target(), loop := Timers(), lambda: None)
    lane.push(item(1), not_before=9.0)
    lane.arm(0.0)
    lane.clear()
    assert loop.at is None and len(lane) == 0
