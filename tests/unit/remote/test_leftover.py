"""What background requests leave to more important ones in one process: slots and room in the limits."""

import asyncio
import statistics

import spillway
from spillway.testing import ScriptedRunner, run_virtual
from spillway.testing.scripted import Reply

BACKGROUND, NORMAL = spillway.Priority.BACKGROUND, spillway.Priority.NORMAL


class Played:
    """What became of a play: waits of the more important, and when background ones were sent."""

    def __init__(self, runner):
        self.runner = runner
        self.waits = []

    def sent(self, priority, begin, end):
        return sum(begin <= call.sent < end for call in self.runner.calls if call.priority == priority)


def play(*, background, every_s, seconds, warm_s=0.0, stops_at=None, answers_s=(0.5, 20.0), **options):
    """Ask with `normal` every so many seconds, and after `warm_s` with so many background requests at once.

    Args:
        answers_s: how long a normal one and one in the background take.
    """

    def script(batch):
        return Reply(delay_s=answers_s[0] if batch.request.messages[0]["content"] == "now" else answers_s[1])

    runner = ScriptedRunner(script)
    played = Played(runner)

    async def main():
        deployment = spillway.Deployment(name="m", **options)
        async with spillway.Cluster([deployment], runners={"m": lambda _: runner}, environ={}) as cluster:
            loop = asyncio.get_running_loop()
            start = loop.time()

            async def ask():
                began = loop.time()
                await cluster.generate("m", "now", priority=NORMAL, timeout_s=300.0)
                played.waits.append(loop.time() - began - answers_s[0])

            async def flood():
                await asyncio.sleep(warm_s)
                work = (cluster.generate("m", "later", priority=BACKGROUND, timeout_s=1e6) for _ in range(background))
                await asyncio.gather(*work, return_exceptions=True)

            flooding = asyncio.ensure_future(flood())
            asked = []
            while loop.time() - start < seconds:
                if stops_at is None or loop.time() - start < stops_at:
                    asked.append(asyncio.ensure_future(ask()))
                await asyncio.sleep(every_s)
            await asyncio.gather(*asked)
            flooding.cancel()
            await asyncio.wait({flooding})
            played.start = start
            played.later = [c.sent - start for c in runner.calls if c.batch.request.messages[0]["content"] == "later"]

    run_virtual(main())
    return played


def p99(waits):
    return statistics.quantiles(waits, n=100)[98]


SERVING = spillway.Serving(max_concurrent=8, queue_capacity=4096, queue_timeout_s=1e6)


def test_a_flood_of_long_background_requests_takes_no_slot_that_others_have_lately_needed():
    alone = play(background=0, every_s=0.25, seconds=120.0, serving=SERVING)
    beside = play(background=200, every_s=0.25, seconds=120.0, warm_s=20.0, serving=SERVING)
    assert p99(alone.waits) == 0.0
    assert p99(beside.waits) == 0.0
    # The rest is theirs: the others need two or three of eight slots.
    assert len(beside.later) >= 5 * 100 / 20 - 5


def test_it_has_every_slot_where_nobody_else_asks_and_again_once_they_have_stopped():
    alone = play(background=200, every_s=1.0, seconds=100.0, stops_at=0.0, serving=SERVING)
    assert len(alone.later) == 8 * 5
    after = play(background=400, every_s=0.25, seconds=300.0, warm_s=10.0, stops_at=60.0, serving=SERVING)
    assert sum(200 <= at < 300 for at in after.later) == 8 * 5


def test_it_leaves_the_rate_of_others_in_the_limit_and_uses_the_rest():
    limits = spillway.RateLimits(requests_per_minute=120)
    options = {"rate_limits": limits, "answers_s": (0.1, 0.1), "serving": SERVING}
    beside = play(background=2000, every_s=1.0, seconds=400.0, warm_s=130.0, **options)
    assert p99(beside.waits) < 0.01
    # Of 118 a minute that can be used 60 are the others', and a tenth more is left free.
    a_minute = sum(220 <= at < 400 for at in beside.later) / 3
    assert 40 <= a_minute <= 58


def test_it_catches_up_in_the_limit_once_the_others_have_stopped():
    limits = spillway.RateLimits(requests_per_minute=120)
    options = {"rate_limits": limits, "answers_s": (0.1, 0.1), "serving": SERVING}
    after = play(background=2000, every_s=1.0, seconds=700.0, warm_s=130.0, stops_at=300.0, **options)
    assert sum(500 <= at < 620 for at in after.later) / 2 >= 110


def test_tokens_are_left_too():
    limits = spillway.RateLimits(tokens_per_minute=100_000)
    options = {"rate_limits": limits, "answers_s": (0.1, 0.1), "serving": SERVING}
    beside = play(background=3000, every_s=1.0, seconds=300.0, warm_s=130.0, **options)
    assert p99(beside.waits) < 0.01
    assert beside.later
