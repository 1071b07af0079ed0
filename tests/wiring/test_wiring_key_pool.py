"""A pool of keys through the Cluster against the simulator: turns, cooling, revocation and its end, counters."""

import asyncio
import sys

import msgspec
import pytest
from stage import ended

import spillway
from spillway import Secret, SecretRef
from spillway.sim import SimConfig, Simulator, parse_limit

PRICING = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)
KEYS = ("sk-one-canary", "sk-two-canary", "sk-three-canary")


def cluster_of(sim, keys=None, *, environ=None, observers=(), **options):
    keys = tuple(Secret(key) for key in KEYS) if keys is None else keys
    config = spillway.OpenAiConfig(endpoint=f"{sim.url}/v1", api_key=keys)
    options.setdefault("pricing", PRICING)
    deployment = spillway.Deployment(name="m", model="gpt-4o-mini", runtime_config=config, **options)
    return spillway.Cluster([deployment], environ=environ or {}, observers=observers)


async def ask(cluster, **options):
    return await cluster.generate("m", "Say 2 words", **options)


def states(cluster):
    return [key.state for key in cluster.metrics().per_deployment["m"].per_key]


async def until(met, turns=400):
    for _ in range(turns):
        if met():
            return
        await asyncio.sleep(0.005)
    assert met()


@pytest.fixture
async def sim():
    async with Simulator(SimConfig(seed=1)) as sim:
        yield sim


@pytest.mark.parametrize("at_once", [1, 30])
async def test_three_keys_of_three_hundred_requests_get_a_hundred_each(sim, at_once):
    async with cluster_of(sim) as cluster:
        for _ in range(300 // at_once):
            await asyncio.gather(*(ask(cluster) for _ in range(at_once)))
        assert [key.served for key in cluster.metrics().per_deployment["m"].per_key] == [100, 100, 100]
    assert sim.stats()["by_key"] == dict.fromkeys(KEYS, 100)


async def test_a_429_cools_one_key_and_no_request_waits_for_it():
    async with Simulator(SimConfig(seed=1, limits=(parse_limit(f"{KEYS[0]}=1,-"),))) as sim, cluster_of(sim) as cluster:
        answers = [await ask(cluster, timeout_s=5.0) for _ in range(30)]
        assert {answer.deployment for answer in answers} == {"m"}
        assert states(cluster) == ["cooling", "ok", "ok"]
        assert cluster.deployment("m").healthy()
        counted = sim.stats()
        assert (counted["rejected"], counted["by_key"][KEYS[0]]) == (1, 2)
        assert counted["by_key"][KEYS[1]] == pytest.approx(counted["by_key"][KEYS[2]], abs=1)


async def test_a_revoked_key_leaves_the_pool_and_comes_back_when_its_source_has_another(sim, tmp_path):
    path = tmp_path / "key"
    path.write_text("sk-old")
    keys = (SecretRef(from_file=str(path)), Secret("sk-b"), Secret("sk-c"))
    async with cluster_of(sim, keys) as cluster:
        for _ in range(3):
            await ask(cluster)
        sim.set_valid_keys(frozenset({"sk-new", "sk-b", "sk-c"}))
        for _ in range(9):
            assert (await ask(cluster)).text
        assert states(cluster) == ["refused", "ok", "ok"]
        assert sim.stats()["by_key"]["sk-old"] == 2
        path.write_text("sk-new")
        await asyncio.sleep(1.05)
        await ask(cluster)
        await until(lambda: states(cluster) == ["ok", "ok", "ok"])
        for _ in range(6):
            await ask(cluster)
        assert sim.stats()["by_key"]["sk-new"] >= 2
        assert sim.stats()["by_key"]["sk-old"] == 2


async def test_a_member_of_a_group_comes_back_in_the_same_way(sim, tmp_path):
    path = tmp_path / "key"
    path.write_text("sk-old")
    sim.set_valid_keys(frozenset({"sk-new", "sk-b"}))

    def member(name, key):
        config = spillway.OpenAiConfig(endpoint=f"{sim.url}/v1", api_key=key)
        return spillway.Deployment(name=name, group="g", model="gpt-4o-mini", runtime_config=config, pricing=PRICING)

    members = [member("a", SecretRef(from_file=str(path))), member("b", Secret("sk-b"))]
    async with spillway.Cluster(members, environ={}) as cluster:
        for _ in range(4):
            assert (await cluster.generate("g", "Say 2 words")).deployment == "b"
        path.write_text("sk-new")
        await asyncio.sleep(1.05)
        await cluster.generate("g", "Say 2 words")
        await until(lambda: cluster.deployment("a").healthy())
        assert {(await cluster.generate("g", "Say 2 words")).deployment for _ in range(4)} == {"a", "b"}


async def test_all_keys_revoked_is_refused_here_until_any_of_them_has_another(sim, tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(f"sk-{path.name}")
    sim.set_valid_keys(frozenset({"sk-new"}))
    async with cluster_of(sim, tuple(SecretRef(from_file=str(path)) for path in paths)) as cluster:
        for _ in range(3):
            with pytest.raises(spillway.Unauthorized):
                await ask(cluster)
        assert states(cluster) == ["refused"] * 3
        asked = sim.stats()["asked"]
        assert asked == 3
        for _ in range(20):
            error, _ = await ended(ask(cluster))
            assert isinstance(error, spillway.Unauthorized)
            assert (error.reason, error.attempts) == ("same_credential", 0)
        assert sim.stats()["asked"] == asked
        assert not cluster.deployment("m").healthy()
        paths[2].write_text("sk-new")
        await asyncio.sleep(1.05)
        await ended(ask(cluster))
        await until(lambda: states(cluster) == ["refused", "refused", "ok"])
        assert (await ask(cluster)).text


async def test_a_pool_takes_keys_of_every_kind_and_reads_all_of_them_again(sim, tmp_path):
    path, other = tmp_path / "file", tmp_path / "printed"
    path.write_text("sk-file-1")
    other.write_text("sk-command-1")
    environ = {"KEY": "sk-env-1"}
    keys = (
        SecretRef(from_env="KEY"),
        SecretRef(from_file=str(path)),
        SecretRef(from_command=(sys.executable, "-c", f"print(open({str(other)!r}).read())")),
        Secret("sk-given"),
    )
    async with cluster_of(sim, keys, environ=environ) as cluster:
        for _ in range(4):
            await ask(cluster)
        path.write_text("sk-file-2")
        other.write_text("sk-command-2")
        environ["KEY"] = "sk-env-2"
        await cluster.deployment("m").rebuild_session()
        for _ in range(4):
            await ask(cluster)
    wanted = {f"sk-{kind}-{number}": 1 for kind in ("env", "file", "command") for number in (1, 2)}
    assert sim.stats()["by_key"] == wanted | {"sk-given": 2}


async def test_one_key_that_cannot_be_read_again_keeps_its_session_and_the_others_are_new(sim, tmp_path):
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_text(f"sk-{path.name}-1")
    async with cluster_of(sim, tuple(SecretRef(from_file=str(path)) for path in paths)) as cluster:
        for _ in range(2):
            await ask(cluster)
        paths[0].write_text('{"half": "of a fi')
        paths[1].write_text("sk-b-2")
        with pytest.raises(spillway.Unauthorized, match="holds JSON that is not whole"):
            await cluster.deployment("m").rebuild_session()
        for _ in range(2):
            await ask(cluster)
    assert sim.stats()["by_key"] == {"sk-a-1": 2, "sk-b-1": 1, "sk-b-2": 1}


async def test_a_key_that_is_not_there_yet_leaves_the_work_to_the_others(sim, tmp_path):
    path = tmp_path / "late"
    async with cluster_of(sim, (SecretRef(from_file=str(path)), Secret("sk-b"))) as cluster:
        for _ in range(4):
            await ask(cluster)
        assert states(cluster) == ["refused", "ok"]
        path.write_text("sk-late")
        await asyncio.sleep(1.05)
        await ask(cluster)
        await until(lambda: states(cluster) == ["ok", "ok"])
        for _ in range(4):
            await ask(cluster)
        assert sim.stats()["by_key"]["sk-late"] >= 2


async def test_a_key_that_cools_is_waited_for_rather_than_a_refused_one_asked():
    config = SimConfig(seed=1, limits=(parse_limit("sk-b=1,-"),), valid_keys=frozenset({"sk-b"}))
    async with Simulator(config) as sim, cluster_of(sim, (Secret("sk-a"), Secret("sk-b"))) as cluster:
        await ask(cluster)
        error, _ = await ended(ask(cluster, timeout_s=0.3))
        assert isinstance(error, (spillway.RateLimited, spillway.Timeout))
        assert states(cluster) == ["refused", "cooling"]
        error, _ = await ended(ask(cluster, timeout_s=0.3))
        assert isinstance(error, (spillway.RateLimited, spillway.Timeout))


async def test_the_counters_of_each_key_name_it_by_position_and_show_nothing_of_it(sim):
    class Journal:
        def __init__(self):
            self.records = []

        def on_attempt(self, record):
            self.records.append(record)

        on_request = on_attempt

    journal = Journal()
    sim.set_valid_keys(frozenset(KEYS[1:]))
    async with cluster_of(sim, observers=[journal]) as cluster:
        for _ in range(6):
            await ask(cluster)
        cluster.deployment("m").circuit_breaker(1).force_open(60.0)
        metrics = cluster.metrics()
        keys = metrics.per_deployment["m"].per_key
        assert [(key.state, key.breaker) for key in keys] == [("refused", "CLOSED"), ("open", "OPEN"), ("ok", "CLOSED")]
        assert sum(key.served for key in keys) == sim.stats()["asked"]
        shown = [msgspec.json.encode(metrics).decode(), repr(metrics), repr(journal.records), repr(cluster)]
        shown += [repr(cluster.deployment("m")), repr(cluster.deployment("m").workers())]
    assert not [text for text in shown for key in KEYS if key in text]
    assert cluster.metrics().per_deployment["m"].per_key


async def test_one_key_is_no_pool(sim):
    async with cluster_of(sim, Secret("sk-only")) as cluster:
        await ask(cluster)
        assert cluster.metrics().per_deployment["m"].per_key == ()
