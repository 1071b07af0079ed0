"""A run that is killed at any instant and resumed: every line once, nothing paid beyond the cap."""

import asyncio
import json
import random
import signal

import pytest
from run_cli import prompts, world


async def kill_and_resume(here, rng, *args, kills, wait_s):
    """Run to the end over so many kills at random instants; return the kills that hit and the last process."""
    for done in range(kills + 1):
        process = here.spawn("--resume", *args)
        if done == kills:
            return done, await process.end(120)
        if rng.random() < 0.8:
            while not here.sidecar.exists() and not process.over:
                await asyncio.sleep(0.01)
            opened = here.sidecar.stat().st_size
            while here.sidecar.stat().st_size == opened and not process.over:
                await asyncio.sleep(0.002)
            delay = rng.random() * wait_s
        else:
            delay = rng.random()
        if not await process.wait(delay):
            process.kill()
        last = await process.end()
        if last.code != -signal.SIGKILL:
            return done, last
    raise AssertionError("unreachable")


async def killed_run_is_whole(folder, *, lines, kills, concurrency, latency_s, seed, wait_s=0.4, per_run=None):
    rng = random.Random(seed)
    async with world(folder, latency_s=latency_s) as here:
        here.input.write_text(prompts(lines))
        first = await here.run("--concurrency", 32)
        assert first.code == 0, first
        expected = here.sorted_lines()
        hit = 0
        while hit < kills:
            here.forget()
            here.sim.reset()
            wanted = kills - hit if per_run is None else min(per_run, kills - hit)
            found, last = await kill_and_resume(here, rng, "--concurrency", concurrency, kills=wanted, wait_s=wait_s)
            assert last.code == 0, last
            assert here.sorted_lines() == expected
            assert sorted(here.results()) == sorted(f"a{i}" for i in range(lines))
            stats = here.sim.stats(prompts=True)
            assert lines <= stats["asked"] <= lines + found * concurrency
            again = [prompt for prompt, seen in stats["by_prompt"].items() if seen["asked"] > 1]
            assert len(again) <= found * concurrency
            hit += max(found, 1)


@pytest.mark.timeout(170)
async def test_25_kills_lose_nothing_and_repeat_only_what_was_in_flight(tmp_path):
    await killed_run_is_whole(tmp_path, lines=1000, kills=25, concurrency=8, latency_s=0.09, seed=5)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_200_kills_of_10_000_lines(tmp_path):
    await killed_run_is_whole(
        tmp_path, lines=10_000, kills=200, concurrency=64, latency_s=0.05, seed=6, wait_s=2.0, per_run=10
    )


async def test_an_ordered_run_survives_kills_in_order(tmp_path):
    rng = random.Random(11)
    async with world(tmp_path, latency_s=0.05) as here:
        here.project(more="[deployment.serving]\nmax_concurrent = 16")
        # Long answers among short ones come out of turn.
        here.input.write_text(prompts(400))
        _, last = await kill_and_resume(here, rng, "--ordered", kills=4, wait_s=0.5)
        assert last.code == 0, last
        assert [line["custom_id"] for line in here.lines()] == [f"a{i}" for i in range(400)]
        assert here.sim.stats()["asked"] <= 400 + 4 * 16


async def test_the_cap_holds_over_kills(tmp_path):
    rng = random.Random(3)
    async with world(tmp_path, latency_s=0.05, prices={"gpt-4o-mini": (1.0, 10.0)}) as here:
        here.project(prices=(1.0, 10.0))
        here.input.write_text(prompts(600, max_tokens=100))
        cap = 0.1
        _, last = await kill_and_resume(here, rng, "--concurrency", 4, "--max-cost", cap, "--json", kills=4, wait_s=0.6)
        assert last.code == 3, last
        assert last.json["ending"] == "max_cost"
        assert last.json["cost_usd"] <= cap
        assert here.sim.stats()["billed_usd"] <= cap
        # It was used: what is left would not have paid for one more line, beside what the kills cost.
        assert here.sim.stats()["billed_usd"] > cap - 4 * 4 * 0.0011 - 0.0015
        before = len(here.results())
        assert 0 < before < 600
        more = await here.run("--resume", "--max-cost", 10, "--json")
        assert more.code == 0, more
        assert len(here.results()) == 600
        assert more.json["cost_usd"] >= here.sim.stats()["billed_usd"] - 1e-9


async def test_a_finished_line_is_on_file_before_its_slot_sends_another(tmp_path):
    """With one slot, at most the one line that was asked last is missing from the output at any instant."""
    async with world(tmp_path, latency_s=0.003) as here:
        here.input.write_text(prompts(300))
        process = here.spawn("--concurrency", 1)
        missing = []
        while not process.over:
            asked = here.sim.stats()["asked"]
            missing.append(asked - here.count())
            await asyncio.sleep(0.0007)
        assert (await process.end()).code == 0
        assert max(missing) == 1


async def test_what_was_in_flight_at_a_kill_counts_as_spent(tmp_path):
    async with world(tmp_path, latency_s=30.0) as here:
        here.input.write_text(prompts(3, max_tokens=1000))
        process = here.spawn("--concurrency", 2)
        while here.sim.stats()["in_flight"] < 2:
            assert not process.over, await process.end()
            await asyncio.sleep(0.01)
        process.kill()
        await process.end()
        records = [json.loads(line) for line in here.sidecar.read_text().splitlines()]
        reserved = sum(r["pico"] for r in records if r["t"] == "send")
        assert len([r for r in records if r["t"] == "send"]) == 2
        found = await here.run("--resume", "--max-cost", "0.000001", "--json")
        assert found.code == 3, found
        assert found.json["cost_usd"] == pytest.approx(reserved / 1e12)
        assert here.sim.stats()["asked"] == 2
