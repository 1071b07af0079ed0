"""Limits that are kept together by telling, over a real Redis and four processes: killed, paused, cut off, started again."""

import random
import time

import pytest
from node_processes import Senders

from spillway.testing.limit_probe import most_in_any

# Several processes that are judged by the clock: not two such tests at once.
pytestmark = pytest.mark.xdist_group("processes")

WINDOW_S, SYNC_S, SILENT_S, LIMIT = 2.0, 0.1, 2.0, 600
ALLOWANCE = 30
BOUND = LIMIT + 3 * ALLOWANCE * 2
"""Four nodes; news are at most two syncs old."""


@pytest.fixture
def nodes(redis_server, tmp_path):
    found = Senders(
        redis_server, tmp_path, strict=False, window_s=WINDOW_S, sync_s=SYNC_S, silent_s=SILENT_S, limit=LIMIT
    )
    yield found
    found.end()


def test_no_window_holds_more_than_the_bound_and_nearly_all_is_used(nodes):
    nodes.wait_for(LIMIT)
    began = time.monotonic() + WINDOW_S
    time.sleep(4 * WINDOW_S)
    log = nodes.sent()
    assert most_in_any(log, WINDOW_S) <= BOUND
    used = len(nodes.sent(began, began + 3 * WINDOW_S)) / 3
    assert used >= 0.95 * LIMIT


def test_killed_and_started_again(nodes):
    nodes.wait_for(LIMIT // 2)
    rng = random.Random(28)
    for _ in range(8):
        time.sleep(rng.uniform(0.1, 0.9))
        nodes.replace(rng.randrange(4))
    # Until they are taken for dead the shares of those that were killed are kept for them.
    time.sleep(SILENT_S + WINDOW_S)
    began = time.monotonic()
    time.sleep(WINDOW_S)
    assert most_in_any(nodes.sent(), WINDOW_S) <= BOUND
    assert len(nodes.sent(began)) >= 0.9 * LIMIT


def test_paused_for_less_and_for_more_than_it_takes_to_be_taken_for_dead(nodes):
    nodes.wait_for(LIMIT)
    for at, seconds in enumerate((0.5, SILENT_S + 0.5)):
        nodes.pause(at, seconds)
    time.sleep(WINDOW_S)
    assert most_in_any(nodes.sent(), WINDOW_S) <= BOUND


def test_a_store_that_dies_leaves_each_its_share(nodes, redis_server):
    nodes.wait_for(LIMIT)
    time.sleep(0.3)
    redis_server.kill()
    died = time.monotonic()
    time.sleep(2.2 * WINDOW_S)
    alone = nodes.sent(died + WINDOW_S)
    assert most_in_any(alone, WINDOW_S) <= LIMIT
    assert len(alone) >= 0.7 * LIMIT
    redis_server.start()
    time.sleep(WINDOW_S)
    assert most_in_any(nodes.sent(), WINDOW_S) <= BOUND
