"""Every fault of the simulator, met by a request through every door: at the client, at the simulator, in the ledgers.

A deployment has one retry. What is told is the newest attempt's error; a stream that has begun is never asked for again.
"""

from typing import NamedTuple

import pytest
from fault_rig import ROADS, rig

from spillway.sim.faults import KINDS


class End(NamedTuple):
    """How a request ends.

    `money` is what the ledgers hold: `none`, the provider's own bill (`billed`), or an `estimate` because no answer told
    its usage. `failures` is how many the circuit breaker counts.
    """

    status: int
    code: str = "ok"
    attempts: int = 1
    money: str = "none"
    failures: int = 0


OK = End(200, money="billed")
FAILED = End(502, "server_error", 2, failures=2)
UNREADABLE = FAILED._replace(money="estimate")
CUT = End(502, "network_error", 2, "estimate", 2)
INTERRUPTED = End(200, "stream_interrupted", 1, "estimate", 1)
TOO_SLOW = End(504, "timeout", 1, "estimate", 1)
SILENT = End(504, "timeout", 2, "estimate", 2)
FILTERED = End(400, "content_filtered")

ENDS = {
    "429": (End(429, "rate_limited", 2),) * 2,
    "429-retry-after=30": (End(429, "rate_limited"),) * 2,
    "insufficient-quota": (End(402, "quota_exhausted"),) * 2,
    "500": (FAILED,) * 2,
    "503": (FAILED,) * 2,
    "529": (FAILED,) * 2,
    "401": (End(502, "unauthorized_upstream"),) * 2,
    "403": (End(502, "forbidden_upstream"),) * 2,
    "content-filter": (FILTERED,) * 2,
    "context-length": (End(400, "context_length_exceeded"),) * 2,
    "html-error-page": (FAILED,) * 2,
    "stall-before-headers": (TOO_SLOW, SILENT),
    "reset-before-headers": (CUT,) * 2,
    "stall-mid-stream": (TOO_SLOW, INTERRUPTED),
    "reset-mid-stream": (CUT, INTERRUPTED),
    "truncated-stream": (CUT, INTERRUPTED),
    "error-event-mid-stream": (FAILED, INTERRUPTED),
    "garbage-json": (UNREADABLE, INTERRUPTED),
    "huge-line": (OK, INTERRUPTED),
    "invalid-utf8": (UNREADABLE, OK),
    "slow-drip": (TOO_SLOW, SILENT),
    "slow-drip=0": (OK, OK),
    "unknown-fields": (OK, OK),
}
"""Of each fault how a whole answer ends, and how a stream does."""

CAUGHT_UP = {"429": "1", "429-retry-after=30": "30"}
OF_THE_PROVIDER = {"429", "429-retry-after=30", "insufficient-quota", "401", "403"}
LASTS = {"chat": ["[DONE]"], "responses": ["response.completed"], "messages": ["message_stop"]}


def test_no_fault_is_left_out():
    assert {fault.partition("=")[0] for fault in ENDS} == set(KINDS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("door", "api"), ROADS, ids=["-".join(road) for road in ROADS])
@pytest.mark.parametrize("fault", ENDS)
async def test_a_fault_ends_as_the_matrix_says(fault, door, api, stream):
    end = ENDS[fault][stream]
    if (fault, api) == ("content-filter", "anthropic"):
        # There a filtered prompt is an answer that ends in a refusal, and costs nothing.
        end = End(200)
    async with rig(fault, api) as here:
        told = await here.ask(door, stream=stream)
        stats = await here.simulated()
        cost = here.holds_nothing()
        attempts = here.books.attempts
        (served,) = here.books.served

        at_the_client(told, end, door, fault, stream=stream)
        assert (served.status, served.outcome, served.attempts) == (end.status, end.code, end.attempts)
        assert (served.door, served.caller, served.deployment or "m") == (door, "a", "m")

        assert stats["asked"] == end.attempts
        assert stats["served"] == (end is OK and fault in {"slow-drip=0", "unknown-fields"})
        billed = round(stats["billed_usd"] * 1e12)
        assert here.breaker.failures == end.failures
        assert [record.estimated for record in attempts] == [end.money == "estimate"] * end.attempts
        if end.money == "estimate":
            assert cost > 0
            if not stream:
                assert cost >= billed
        else:
            assert cost == (billed if end.money == "billed" else 0)


def at_the_client(told, end, door, fault, *, stream):
    """Look at what the client was told: status, headers, and the body in the words of its door."""
    headers = told.headers
    assert told.status == end.status
    assert headers["x-request-id"]
    assert headers["x-spillway-deployment"] == "m"
    assert headers["x-spillway-attempts"] == str(end.attempts)
    if end.status != 200:
        assert headers["content-type"] == "application/json"
        assert headers["x-should-retry"] == "false"
        assert headers.get("retry-after") == CAUGHT_UP.get(fault)
        assert headers.get("x-spillway-limited-by") == ("provider" if fault in OF_THE_PROVIDER else None)
        is_error(told.json, end, door)
        return
    assert "retry-after" not in headers
    if not stream:
        assert headers["content-type"] == "application/json"
        assert "error" not in told.json or told.json["error"] is None
        return
    assert headers["content-type"].startswith("text/event-stream")
    events = told.events
    assert len(events) >= 2
    if end.code == "ok":
        last = events[-1] if isinstance(events[-1], str) else events[-1]["type"]
        assert last in LASTS[door] or (fault == "content-filter" and last == "response.incomplete")
    else:
        is_error(events[-1], end, door)
        assert not {"[DONE]", *LASTS[door]} & {each if isinstance(each, str) else each.get("type") for each in events}


def is_error(said, end, door):
    """Look whether what was said is an error in the words of a door."""
    error = said["error"]
    assert error["message"]
    if door == "messages":
        assert said["type"] == "error"
        assert error["type"]
        # A provider's own error comes as it is, without our code or with another of its own.
        assert error.get("details", {}).get("error_code") in {end.code, None, "enforced_spend_limit_reached"}
    else:
        assert error["code"] == end.code
        assert "sk-test-upstream" not in str(said)
