"""A key's life beside a running gateway, and what it has spent, by the commands."""

import asyncio
import json

import aiohttp
import pytest
from state_served import ADMIN, Served

from spillway.sim import SimConfig, Simulator

BODY = {"model": "m", "messages": [{"role": "user", "content": "say it"}], "max_tokens": 50}


@pytest.mark.timeout(120)
async def test_a_key_is_made_used_limited_rotated_and_revoked_while_the_gateway_runs(tmp_path):
    async with Simulator(SimConfig(seed=1)) as sim, aiohttp.ClientSession() as http:
        served = Served(tmp_path, sim.url, cap=1000.0)

        async def command(*args):
            return await served.spawn(*args).end()

        async def ask(key):
            headers = {"authorization": f"Bearer {key}"}
            async with http.post(served.url + "/v1/chat/completions", json=BODY, headers=headers) as answer:
                await answer.read()
                return answer.status, answer.headers.get("x-spillway-limited-by")

        async def becomes(key, status):
            for _ in range(200):
                if (await ask(key))[0] == status:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(f"not {status} within two seconds")

        try:
            await served.start(http)
            made = await command("keys", "create", "team", "--rpm", "4", "--model", "m")
            key = made.out.strip()
            await becomes(key, 200)
            assert [await ask(key) for _ in range(4)] == [(200, None)] * 3 + [(429, "key")]
            rotated = await command("keys", "rotate", "team", "--grace", "0", "--json")
            new = json.loads(rotated.out)["key"]
            await becomes(new, 429)
            assert (await ask(key))[0] == 401

            report = await command("cost-report", "--by", "key", "--json")
            (row,) = json.loads(report.out)["rows"]
            assert (row["key"], row["requests"]) == ("team", 4)
            async with http.get(sim.url + "/sim/stats") as stats:
                assert row["cost_usd"] == pytest.approx((await stats.json())["billed_usd"])
            table = await command("cost-report", "--by", "model", "--url", served.url)
            assert table.out.splitlines()[1].split()[:2] == ["gpt-4o-mini", "4"]

            listed = await command("keys", "list")
            await command("keys", "revoke", "team")
            await becomes(new, 401)
            async with http.get(served.url + "/admin/costs?by=key", headers=ADMIN) as answer:
                assert (await answer.json())["rows"] == [row]
            ended = await served.kill(15)
            assert ended.code == 0
            for said in (ended, listed, table, report):
                for secret in (key, new, "key-a", "admin-secret", "sk-sim"):
                    assert secret not in said.out + said.err
            kept = b"".join(path.read_bytes() for path in tmp_path.glob("spillway.db*"))
            assert key.encode() not in kept
            assert new.encode() not in kept
        finally:
            served.close()


@pytest.mark.timeout(60)
async def test_without_a_gateway_the_report_says_so(tmp_path):
    served = Served(tmp_path, "http://127.0.0.1:9")
    ended = await served.spawn("cost-report").end()
    served.close()
    assert (ended.code, ended.out) == (1, "")
    assert f"no gateway at {served.url}: Connection refused" in " ".join(ended.err.split())


@pytest.mark.timeout(60)
async def test_a_key_in_the_state_file_is_enough_to_serve_others_than_this_machine(tmp_path):
    served = Served(tmp_path, "http://127.0.0.1:9")
    file = tmp_path / "spillway.toml"
    head, _, rest = file.read_text().partition("[[gateway.keys]]")
    file.write_text(head + rest[rest.index("[[deployment]]") :])
    bind = ("--bind", f"0.0.0.0:{served.port}")
    try:
        refused = await served.spawn("serve", *bind).end()
        assert refused.code == 2
        assert "there is no gateway key" in refused.err
        assert (await served.spawn("keys", "create", "team").end()).code == 0
        async with aiohttp.ClientSession() as http:
            await served.start(http, *bind)
            async with http.get(served.url + "/v1/models") as answer:
                assert answer.status == 401
    finally:
        served.close()
