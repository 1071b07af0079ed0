"""`spillway serve` killed under load again and again: no spend is forgotten, no cap is exceeded over the restarts."""

import asyncio
import random
import signal

import aiohttp
import pytest
from state_served import CAP_USD, Served, free_port

from spillway.sim import SimConfig, Simulator


async def load(http, url, chance, statuses, *, key="key-a"):
    """Ask until the gateway is gone."""
    while True:
        tokens = chance.randrange(20, 400)
        body = {"model": "m", "messages": [{"role": "user", "content": f"say {tokens}"}], "max_tokens": tokens}
        body["stream"] = chance.random() < 0.5
        try:
            async with http.post(
                url + "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
            ) as answer:
                await answer.read()
                statuses.append(answer.status)
                if answer.status != 200:
                    await asyncio.sleep(0.02)
        except (aiohttp.ClientError, OSError):
            return


async def billed_by(http, sim):
    async with http.get(sim.url + "/sim/stats") as answer:
        return (await answer.json())["billed_usd"]


@pytest.mark.timeout(180)
async def test_spend_outlives_kills_and_no_cap_is_exceeded_over_them(tmp_path):
    chance = random.Random(5)
    kills, workers = 6, 12
    dearest = 0.6e-6 * 400 + 0.15e-6 * 60
    async with Simulator(SimConfig(seed=1, latency_s=0.01)) as sim, aiohttp.ClientSession() as http:
        served = Served(tmp_path, sim.url)
        statuses = []
        try:
            for round_ in range(kills):
                await served.start(http)
                told = (await served.costs(http, "deployment")).get("m")
                spent = 0.0 if told is None else told["cost_usd"]
                margin = 0.0 if told is None else told["margin_usd"]
                was_billed = await billed_by(http, sim)
                # Never less than what was billed; at most what was under way and the margins of the kills more.
                assert was_billed <= spent + margin + 1e-12, (round_, was_billed, told)
                assert spent <= was_billed + round_ * workers * dearest + 1e-12
                assert round_ * CAP_USD / 100 - 1e-12 <= margin <= round_ * CAP_USD / 20 + 1e-12
                key = (await served.costs(http, "key")).get("a")
                assert (0.0 if key is None else key["cost_usd"]) == pytest.approx(spent)
                asking = [asyncio.create_task(load(http, served.url, chance, statuses)) for _ in range(workers)]
                await asyncio.sleep(chance.uniform(0.2, 0.7))
                await served.kill()
                await asyncio.gather(*asking)
            # Then until the cap: the provider has billed no more than it over all these lives.
            await served.start(http)
            statuses.clear()
            asking = [asyncio.create_task(load(http, served.url, chance, statuses)) for _ in range(workers)]
            while statuses.count(402) < 50:
                await asyncio.sleep(0.02)
            assert await billed_by(http, sim) <= CAP_USD
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            assert (await served.kill(signal.SIGTERM)).code == 0
            # An orderly end leaves no margin.
            before = await billed_by(http, sim)
            await served.start(http)
            row = (await served.costs(http, "deployment"))["m"]
            assert row["margin_usd"] <= kills * CAP_USD / 20 + 1e-12
            assert before <= row["cost_usd"] + row["margin_usd"]
            assert row["cost_usd"] <= CAP_USD
        finally:
            served.close()


@pytest.mark.timeout(120)
async def test_a_keys_spend_outlives_a_kill(tmp_path):
    async with Simulator(SimConfig(seed=1)) as sim, aiohttp.ClientSession() as http:
        served = Served(tmp_path, sim.url, key_cap=0.001, cap=1000.0)
        try:
            await served.start(http)
            statuses, chance = [], random.Random(1)
            asking = asyncio.create_task(load(http, served.url, chance, statuses))
            while statuses.count(402) < 3:
                await asyncio.sleep(0.02)
            await served.kill()
            await asking
            spent = await billed_by(http, sim)
            await served.start(http)
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 400}
            for key, status in (("key-a", 402), ("key-b", 200)):
                async with http.post(
                    served.url + "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
                ) as answer:
                    assert answer.status == status
                    if status == 402:
                        assert answer.headers["x-spillway-limited-by"] == "key"
            assert spent <= 0.001
        finally:
            served.close()


@pytest.mark.timeout(60)
async def test_a_second_gateway_on_the_same_state_is_refused_in_one_line(tmp_path):
    async with Simulator(SimConfig(seed=1)) as sim, aiohttp.ClientSession() as http:
        served = Served(tmp_path, sim.url)
        try:
            await served.start(http)
            second = await served.spawn("serve", "--bind", f"127.0.0.1:{free_port()}").end()
            assert second.code == 2
            assert second.err.count("error: ") == 1
            assert f"process {served.process.popen.pid} serves with this state file" in second.err
            async with http.get(served.url + "/readyz") as answer:
                assert answer.status == 200
        finally:
            served.close()


@pytest.mark.timeout(60)
async def test_a_bad_state_file_is_one_line(tmp_path):
    served = Served(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "spillway.db").write_bytes(b"no database" * 100)
    ended = await served.spawn("serve").end()
    served.close()
    assert ended.code == 2
    assert ended.err.count("error: ") == 1
    assert "spillway.db: the state file is damaged or not one" in ended.err
