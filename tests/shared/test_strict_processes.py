"""A strict limit over a real Redis and four processes that are killed, paused and started again, as is the Redis."""

import random
import statistics
import time

import pytest
import redis
from node_processes import Senders

from spillway.testing.limit_probe import most_in_any

# Several processes that are judged by the clock: not two such tests at once.
pytestmark = pytest.mark.xdist_group("processes")

WINDOW_S, SILENT_S, LIMIT = 2.0, 2.0, 60
LAPSE_S = SILENT_S + 0.4


def four(server, directory):
    return Senders(server, directory, strict=True, window_s=WINDOW_S, silent_s=SILENT_S, limit=LIMIT)


@pytest.fixture
def nodes(redis_server, tmp_path):
    redis_server.up_for(WINDOW_S + LAPSE_S + 1.0)
    found = four(redis_server, tmp_path)
    yield found
    found.end()
    assert most_in_any(found.sent(), WINDOW_S) <= LIMIT


def ends(server):
    with redis.Redis(port=server.port) as client:
        return {key: client.pttl(key) for key in client.scan_iter("*")}


def test_exactly_the_limit_at_once_and_nearly_all_of_it_from_then_on(nodes):
    log = sorted(nodes.wait_for(4 * LIMIT))
    assert most_in_any(log, WINDOW_S) == LIMIT
    assert sum(at < log[0] + WINDOW_S for at in log) == LIMIT
    # The request after `LIMIT` others waits for the window and hardly longer.
    took = [later - at for at, later in zip(log, log[LIMIT:])]
    assert WINDOW_S < statistics.median(took) <= WINDOW_S / 0.97


def test_killed_and_started_again(nodes, redis_server):
    nodes.wait_for(1)
    rng = random.Random(31)
    for _ in range(12):
        time.sleep(rng.uniform(0.0, 0.5))
        nodes.replace(rng.randrange(4))
    began = time.monotonic()
    nodes.wait_for(LIMIT, after=began)
    assert all(left > 0 for left in ends(redis_server).values())


def test_paused_for_less_and_for_more_than_it_takes_to_be_taken_for_dead(nodes):
    nodes.wait_for(1)
    for at, seconds in enumerate((1.0, LAPSE_S + 1.0, 0.5)):
        nodes.pause(at, seconds)
        time.sleep(0.3)
    nodes.wait_for(LIMIT, after=time.monotonic())


def test_a_store_that_comes_back_empty_lets_nobody_through_until_what_it_forgot_is_over(nodes, redis_server):
    nodes.wait_for(LIMIT // 2)
    redis_server.kill()
    time.sleep(0.7)
    redis_server.start()
    born = time.monotonic()
    opened = min(nodes.wait_for(LIMIT, after=born + 0.05))
    assert born + WINDOW_S + LAPSE_S - 0.5 <= opened <= born + WINDOW_S + LAPSE_S + 3.0


def test_a_store_that_is_emptied_lets_nobody_through_until_what_it_forgot_is_over(nodes, redis_server):
    nodes.wait_for(LIMIT // 2)
    with redis.Redis(port=redis_server.port) as client:
        client.flushall()
        emptied = time.monotonic()
        nodes.replace(0)
    opened = min(nodes.wait_for(LIMIT // 2, after=emptied + 0.3))
    assert emptied + WINDOW_S + LAPSE_S - 0.1 <= opened <= emptied + WINDOW_S + LAPSE_S + 4.0


def test_every_key_ends_however_often_nodes_are_killed(redis_server, tmp_path):
    # The script of a node that is killed runs as a whole or not at all: killed connections, while scripts run.
    nodes = four(redis_server, tmp_path)
    rng = random.Random(34)
    with redis.Redis(port=redis_server.port) as client:
        for _ in range(1000):
            client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(rng.uniform(0.0, 0.003))
            assert all(left > 0 for left in ends(redis_server).values())
    nodes.end()
