"""What /sim/stats tells: counters that add up, money, prompts, the log; and what it keeps to itself."""

import asyncio
import signal
import sys

import pytest
from simtools import KEY

from spillway.sim import LimitSpec, SimConfig, Simulator

LONG_KEY = "sk-proj-0123456789abcdefWXYZ"


async def test_outcomes_add_up(start):
    simulator, asker = await start(limits=(LimitSpec(key="limited", requests_per_minute=1),))
    for fault in (None, None, "503", "truncated-stream", "garbage-json", "reset-before-headers", "content-filter"):
        try:
            await asker.ask("openai", fault=fault, stream=True)
        except OSError:
            pass
    for _ in range(3):
        await asker.ask("anthropic", key="limited")
    async with asker.session.get(f"{simulator.url}/sim/stats") as response:
        stats = await response.json()
    assert stats == simulator.stats()
    assert (stats["asked"], stats["served"], stats["rejected"], stats["spoiled"]) == (10, 3, 4, 3)
    assert (stats["over_limit"], stats["in_flight"], stats["disconnected"]) == (2, 0, 0)
    assert stats["by_key"] == {KEY: 7, "limited": 3}
    assert stats["by_path"] == {"/v1/chat/completions": 7, "/v1/messages": 3}
    assert stats["by_status"] == {"200": 5, "503": 1, "none": 1, "400": 1, "429": 2}
    assert stats["keys"]["limited"]["over_limit"] == 2
    assert stats["paths"]["/v1/messages"]["served"] == 1


async def test_money_is_what_was_served(start):
    simulator, asker = await start(prices={"my-model": (1.0, 10.0)})
    await asker.ask("openai", "12345678 in 20 words", model="my-model")
    assert simulator.stats()["billed_usd"] == pytest.approx((5 * 1.0 + 20 * 10.0) / 1e6)
    await asker.ask("openai", "12345678 in 20 words", model="gpt-4o-mini-2024-07-18")
    await asker.ask("openai", fault="500")
    assert simulator.stats()["billed_usd"] == pytest.approx((205.0 + 5 * 0.15 + 20 * 0.6) / 1e6)
    await asker.ask("openai", "12345678 in 20 words", stream=True, fault="truncated-stream=4", model="my-model")
    assert simulator.stats()["keys"][KEY]["billed_usd"] == pytest.approx((205.0 + 12.75 + 5 + 40) / 1e6)


async def test_prompts_are_counted_by_complete_answers(start):
    simulator, asker = await start()
    await asker.ask("openai", "one", fault="503")
    await asker.ask("openai", "one", stream=True, fault="truncated-stream")
    await asker.ask("gemini", "one")
    await asker.ask("anthropic", "two")
    await asker.ask("anthropic", "x" * 2000)
    assert "by_prompt" not in simulator.stats()
    prompts = simulator.stats(prompts=True)["by_prompt"]
    assert prompts["one"] == {"asked": 3, "served": 1}
    assert prompts["two"] == {"asked": 1, "served": 1}
    assert max(map(len, prompts)) < 600


async def test_the_log_holds_arrivals(start):
    simulator, asker = await start()
    await asker.ask("openai", "12345678 in 20 words")
    await asker.ask("openai", fault="503")
    assert "log" not in simulator.stats()
    first, second = simulator.stats(log=True)["log"]
    assert first[1:] == (KEY, "/v1/chat/completions", 200, 25)
    assert second[3] == 503
    assert 0 <= first[0] <= second[0] < 10
    async with asker.session.get(f"{simulator.url}/sim/stats?log=1&prompts=1") as response:
        stats = await response.json()
    assert [row[3] for row in stats["log"]] == [200, 503]
    assert "hello" in stats["by_prompt"]


async def test_real_keys_are_not_shown(start):
    simulator, asker = await start()
    await asker.ask("openai", key=LONG_KEY)
    shown = simulator.stats(prompts=True, log=True)
    assert shown["by_key"] == {"…WXYZ": 1}
    assert LONG_KEY[4:12] not in str(shown)


async def test_reset_clears_counters_and_limits(start):
    simulator, asker = await start(limits=(LimitSpec(requests_per_minute=1),))
    assert [(await asker.ask("openai")).status for _ in range(2)] == [200, 429]
    async with asker.session.post(f"{simulator.url}/sim/reset") as response:
        assert response.status == 200
    assert simulator.stats()["asked"] == 0
    assert simulator.stats(log=True)["log"] == []
    assert (await asker.ask("openai")).status == 200


async def test_a_reset_forgets_what_is_under_way(start):
    simulator, asker = await start(latency_s=0.05)
    task = asyncio.create_task(asker.ask("openai"))
    while simulator.stats()["asked"] == 0:
        await asyncio.sleep(0.001)
    simulator.reset()
    assert (await task).status == 200
    stats = simulator.stats(prompts=True)
    assert (stats["asked"], stats["served"], stats["in_flight"], stats["by_status"]) == (0, 0, 0, {})
    assert stats["by_prompt"] == {}


@pytest.mark.parametrize(
    ("route", "body"),
    [("keys", b"{}"), ("keys", b'{"valid": 3}'), ("scenario", b'{"phase": [{"fault": "no"}]}'), ("nothing", b"")],
)
async def test_bad_control_requests_are_refused(start, route, body):
    simulator, asker = await start()
    async with asker.session.post(f"{simulator.url}/sim/{route}", data=body) as response:
        assert response.status in {400, 404}
        assert "error" in await response.json()


async def test_a_body_that_is_too_large(start):
    simulator, asker = await start(max_body_bytes=1000)
    assert (await asker.ask("openai", "x" * 2000)).status == 413
    assert simulator.stats()["rejected"] == 1


async def test_life_cycle():
    simulator = Simulator(SimConfig())
    assert repr(simulator) == "<Simulator not started>"
    with pytest.raises(RuntimeError):
        simulator.stats()
    async with simulator:
        assert simulator.url == f"http://127.0.0.1:{simulator.port}"
        assert repr(simulator) == f"<Simulator on {simulator.url}>"
        with pytest.raises(RuntimeError):
            await simulator.start()
    assert repr(simulator) == "<Simulator closed>"
    await simulator.aclose()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", simulator.port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_process_says_where_it_listens_and_stops_cleanly(number):
    code = "from spillway.sim import SimConfig, run_forever; run_forever(SimConfig())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    assert line.startswith(b"spillway sim listening on http://127.0.0.1:")
    process.send_signal(number)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, out, err) == (0, b"", b"")
