"""On one core the server's threads do not interrupt the loop; on more of them they are as they are."""

import os
import threading

import pytest

from spillway.gateway.one_core import threads_wait_their_turn


def policy_of_a_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(("cores", "policy"), [(1, "SCHED_BATCH"), (2, "SCHED_OTHER")])
def test_threads_that_are_started_inside(cores, policy):
    """In a thread of its own, since the policy and the cores are a thread's."""
    found = {}

    def held():
        all_cores = os.sched_getaffinity(0)
        if len(all_cores) < cores:
            pytest.fail(f"this machine lets us have {len(all_cores)} core")
        os.sched_setaffinity(0, sorted(all_cores)[:cores])
        with threads_wait_their_turn():
            found["inside"] = policy_of_a_thread()
        found["after"] = policy_of_a_thread()
        found["own"] = os.sched_getscheduler(0)

    thread = threading.Thread(target=held)
    thread.start()
    thread.join()
    assert found == {"inside": getattr(os, policy), "after": os.SCHED_OTHER, "own": os.SCHED_OTHER}
