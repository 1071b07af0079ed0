"""`[cluster]` of a project file, where a store is shared: each key changes what a process may do."""

import asyncio
import contextlib
import sys

import pytest

import spillway
from spillway.remote import AcquirePermit
from spillway.testing import ScriptedRunner

PROJECT = """
[cluster]
name = "{name}"
store = "{store}"
state = ""
{keys}
[[deployment]]
name = "m"
model = "gpt-4o-mini"
[deployment.runtime_config]
api_key = {{ inline = "sk-test" }}
[deployment.rate_limits]
requests_per_minute = 6000
"""


@pytest.fixture
def clusters(shared_redis, tmp_path):
    """Make Clusters of project files that share a store of their own."""
    common = shared_redis.name()

    def make(*, redis=shared_redis, name=common, **keys):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.toml"
        lines = "\n".join(f"{key} = {value}" for key, value in keys.items())
        path.write_text(PROJECT.format(name=name, store=redis.url, keys=lines))
        return spillway.Cluster.from_file(path, runners={"m": lambda _: ScriptedRunner()})

    return make


def at_once(cluster):
    """Return how many are let through without a wait."""
    limiter = cluster.deployment("m").rate_limiter()
    count = 0
    with contextlib.suppress(spillway.RateLimited):
        while True:
            limiter.try_acquire(AcquirePermit()).sent()
            count += 1
    return count


@pytest.mark.parametrize(
    ("keys", "allowance"), [({}, 100), ({"sync_s": 0.5}, 50), ({"allowance_s": 0.1}, 10), ({"allowance_s": 4.0}, 400)]
)
async def test_what_passes_between_two_syncs(clusters, keys, allowance):
    async with clusters(**keys) as one:
        await one.generate("m", "hello")
        assert at_once(one) == allowance - 1


@pytest.mark.parametrize(("sync_s", "soon"), [(0.05, True), (5.0, False)])
async def test_how_soon_others_know(clusters, sync_s, soon):
    async with clusters(sync_s=sync_s) as one, clusters(sync_s=sync_s) as other:
        await other.generate("m", "hello")
        for _ in range(3):
            await one.generate("m", "hello")
        await asyncio.sleep(0.4)
        known = other.deployment("m").rate_limiter().snapshot().requests.used
        assert known == (4 if soon else 1)


async def test_another_name_is_another_cluster(clusters):
    async with clusters(sync_s=0.05) as one, clusters(sync_s=0.05, name="another") as other:
        await one.generate("m", "hello")
        await other.generate("m", "hello")
        await asyncio.sleep(0.3)
        seen = other.deployment("m").rate_limiter().snapshot()
        assert (seen.requests.used, seen.nodes) == (1, 1)


async def test_the_weight_is_the_share_of_one_that_is_cut_off(clusters, redis_server):
    async with (
        clusters(redis=redis_server, sync_s=0.1, weight=3.0) as one,
        clusters(redis=redis_server, sync_s=0.1) as other,
    ):
        for each in (one, other):
            await each.generate("m", "hello")
        await asyncio.sleep(0.3)
        redis_server.kill()
        await asyncio.sleep(0.4)
        shares = [each.deployment("m").rate_limiter().snapshot().requests.ceiling for each in (one, other)]
        assert shares == [4500, 1500]


LIVES = """
import asyncio, sys
import spillway
from spillway.testing import ScriptedRunner

async def main():
    async with spillway.Cluster.from_file(sys.argv[1], runners={"m": lambda _: ScriptedRunner()}) as cluster:
        await cluster.generate("m", "hello")
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize(("keys", "left"), [({"keep_share_s": 0.5}, 1), ({}, 2)])
async def test_how_long_the_share_of_one_that_was_killed_is_kept(clusters, tmp_path, keys, left):
    keys["sync_s"] = 0.1
    async with clusters(**keys) as one:
        await one.generate("m", "hello")
        other = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LIVES, str(tmp_path / "0.toml"), stdout=asyncio.subprocess.PIPE
        )
        assert await other.stdout.readline() == b"ready\n"
        limiter = one.deployment("m").rate_limiter()
        async with asyncio.timeout(10):
            while limiter.snapshot().nodes != 2:
                await asyncio.sleep(0.02)
        other.kill()
        await other.wait()
        await asyncio.sleep(1.0)
        assert limiter.snapshot().nodes == left


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("sync_s", 0, "sync_s must be a number > 0"),
        ("sync_s", 6, "sync_s must be at most 5"),
        ("allowance_s", 61, "allowance_s must be at most 60"),
        ("weight", -1.0, "weight must be a number > 0"),
        ("keep_share_s", 2.5, "keep_share_s must be from 3 times sync_s to 86400"),
        ("keep_share_s", 86_401, "keep_share_s must be from 3 times sync_s to 86400"),
    ],
)
def test_what_can_not_be_is_refused(clusters, key, value, says):
    with pytest.raises(spillway.ConfigError, match=says):
        clusters(**{key: value})
