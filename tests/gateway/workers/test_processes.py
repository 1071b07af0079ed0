"""`spillway serve --workers N` as processes, over a real Redis."""

import asyncio
import json
import os
import re
import signal
import sqlite3
import time

from running_rig import outcome, project

ADMIN = "key-of-the-admin"
ADMIN_LINE = f'admin_key = {{ inline = "{ADMIN}" }}'
KIND = "content-type: application/json\r\n"


async def up(served):
    """Wait until all serve; return their process ids."""
    found = await served.says(r"workers: \d+ that answer as one: processes ([\d, ]+)")
    await served.up()
    return [int(pid) for pid in found[1].split(", ")]


async def admin(served, path):
    status, _, body = await served.ask("GET", path, key=ADMIN)
    assert status == 200, body
    return json.loads(body)


async def do(served, path, body):
    status, _, answer = await served.ask("POST", path, body, key=ADMIN)
    return status, json.loads(answer)


async def rows(served):
    _, _, body = await served.ask("GET", "/metrics", key=ADMIN)
    lines = [line for line in body.decode().splitlines() if line.startswith("spillway_")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


ANSWERED = 'spillway_requests_total{deployment="gpt-4o-mini",door="chat",model="gpt-4o-mini",outcome="ok"}'


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_they_answer_as_one_and_one_that_is_killed_is_followed_by_another(serve, sim):
    served = serve(project(sim.url, gateway=ADMIN_LINE), "--workers", "3")
    pids = await up(served)
    assert len(re.findall("serving: ", served.said)) == 1
    assert [(await served.chat())[0] for _ in range(24)] == [200] * 24
    await asyncio.sleep(1.2)
    state = await admin(served, "/admin/deployments")
    workers = state["gateway"]["workers"]
    assert [int(row["worker"].split(":")[1]) for row in workers] == sorted(pids)
    assert sum(row["requests"] > 0 for row in workers) >= 2
    assert state["deployments"][0]["since_start"]["succeeded"] == 24
    assert [(await rows(served))[ANSWERED] for _ in range(4)] == [24.0] * 4

    os.kill(pids[1], signal.SIGKILL)
    await served.says(r"warning: worker 2 was ended by SIGKILL; another one begins in 0\.2 s")
    again = await served.says(r"workers: worker 2 serves again, as process (\d+)")
    assert int(again[1]) not in pids
    assert (await served.chat())[0] == 200
    await asyncio.sleep(1.2)
    assert (await rows(served))[ANSWERED] == 25.0
    costs = await admin(served, "/admin/costs")
    assert costs["rows"][0]["requests"] == 25

    served.send(signal.SIGTERM)
    assert await served.ends() == 0
    assert "stopped: all have finished" in served.said
    assert all(gone(pid) for pid in (*pids, int(again[1])))


async def test_an_operator_reaches_all_of_them(serve, sim):
    served = serve(project(sim.url, gateway=ADMIN_LINE), "--workers", "2")
    await up(served)
    status, told = await do(served, "/admin/deployments/gpt-4o-mini/breaker", {"action": "open", "for_s": 60})
    assert (status, told["workers"], told["deployment"]["breaker"]["state"]) == (200, {"asked": 2, "silent": 0}, "OPEN")
    assert {(await served.chat())[0] for _ in range(12)} == {503}
    await do(served, "/admin/deployments/gpt-4o-mini/breaker", {"action": "close"})
    assert {(await served.chat())[0] for _ in range(12)} == {200}
    await do(served, "/admin/deployments/gpt-4o-mini/drain", {})
    assert {(await served.chat())[0] for _ in range(12)} == {429}
    # A worker that begins later does as the others.
    pid = int((await admin(served, "/admin/deployments"))["gateway"]["workers"][0]["worker"].split(":")[1])
    os.kill(pid, signal.SIGKILL)
    await served.says("serves again")
    await asyncio.sleep(1.0)
    assert {(await served.chat())[0] for _ in range(12)} == {429}
    served.send(signal.SIGTERM)
    assert await served.ends() == 0


async def test_a_new_project_file_is_read_by_all_after_one_signal_or_one_request(serve, sim):
    served = serve(project(sim.url, gateway=ADMIN_LINE), "--workers", "2")
    await up(served)
    head = served.file.read_text().partition("[gateway]")[0]
    served.file.write_text(head + project(sim.url, gateway=ADMIN_LINE, deployments=("gpt-4o-mini", "other")))
    served.send(signal.SIGHUP)
    await served.says("reloaded: added other")
    await asyncio.sleep(1.0)
    assert served.said.count("reloaded: added other") == 1
    assert {(await served.chat(model="other"))[0] for _ in range(12)} == {200}
    served.file.write_text(head + project(sim.url, gateway=ADMIN_LINE, keys=("key-z",)))
    status, told = await do(served, "/admin/reload", {})
    assert (status, told["workers"]) == (200, {"asked": 2, "silent": 0})
    assert {(await served.chat(key="key-z"))[0] for _ in range(12)} == {200}
    assert {(await served.chat(key="key-a"))[0] for _ in range(12)} == {401}
    served.send(signal.SIGINT)
    assert await served.ends() == 130


async def test_a_key_of_the_state_file_is_known_to_all(serve, sim, tmp_path):
    from spillway.stores.sqlite import KeyFile, KeyLimits  # noqa: PLC0415 - the file is made by the command first

    served = serve(project(sim.url, gateway=ADMIN_LINE), "--workers", "2")
    await up(served)
    with KeyFile(tmp_path / "spillway.db") as file:
        key = file.create("late", KeyLimits()).reveal()
        await asyncio.sleep(1.2)
        assert {(await served.chat(key=key))[0] for _ in range(12)} == {200}
        file.revoke("late")
        await asyncio.sleep(1.2)
        assert {(await served.chat(key=key))[0] for _ in range(12)} == {401}


async def test_streams_end_whole_after_a_signal_and_a_second_one_ends_them(serve, slow_sim):
    served = serve(project(slow_sim.url), "--workers", "2")
    await up(served)
    begun = [asyncio.Event() for _ in range(4)]
    asked = [asyncio.ensure_future(served.chat("word " * 30, stream=True, on_bytes=one)) for one in begun]
    await asyncio.gather(*(one.wait() for one in begun))
    served.send(signal.SIGTERM)
    await served.says("stopping: no new connections; 2 workers finish what is under way")
    answers = await asyncio.gather(*asked)
    assert [outcome(body) for _, _, body in answers] == ["done"] * 4
    assert await served.ends() == 0

    again = serve(project(slow_sim.url), "--workers", "2")
    await up(again)
    event = asyncio.Event()
    asked = asyncio.ensure_future(again.chat("word " * 300, stream=True, on_bytes=event))
    await event.wait()
    again.send(signal.SIGTERM)
    await again.says("stopping")
    again.send(signal.SIGTERM)
    _, _, body = await asked
    assert outcome(body) == "error"
    assert await again.ends() == 0
    assert "stopped: 1 had to be ended" in again.said


async def test_workers_end_with_a_parent_that_is_killed(serve, sim):
    served = serve(project(sim.url), "--workers", "2")
    pids = await up(served)
    served.send(signal.SIGKILL)
    served.popen.wait()
    await until(lambda: all(gone(pid) for pid in pids))


async def test_what_a_killed_worker_had_under_way_counts_as_spent_and_nothing_of_the_living(serve, slow_sim, tmp_path):
    capped = """
[deployment.pricing]
input_per_mtok_usd = 1.0
output_per_mtok_usd = 2.0
"""
    served = serve(project(slow_sim.url, gateway=ADMIN_LINE, more=capped), "--workers", "2")
    pids = await up(served)
    begun = [asyncio.Event() for _ in range(8)]
    asked = [asyncio.ensure_future(served.chat("word " * 60, stream=True, on_bytes=one)) for one in begun]
    await asyncio.gather(*(one.wait() for one in begun))
    await asyncio.sleep(0.3)

    def open_of():
        with sqlite3.connect(tmp_path / "spillway.db") as connection:
            found = dict(connection.execute("SELECT writer, count(*) FROM open GROUP BY writer").fetchall())
        connection.close()
        return found

    before = open_of()
    assert sum(before.values()) == 8
    os.kill(pids[0], signal.SIGKILL)
    await served.says("serves again")
    answers = await asyncio.gather(*asked, return_exceptions=True)
    done = [one for one in answers if not isinstance(one, BaseException) and outcome(one[2]) == "done"]
    lost = 8 - len(done)
    assert {lost, 8 - lost} == {*before.values(), 8 - sum(list(before.values())[:1])}
    await asyncio.sleep(0.5)
    (row,) = (await admin(served, "/admin/costs"))["rows"]
    assert row["requests"] == 8
    assert (row["estimated_usd"] > 0) == (lost > 0)
    assert open_of() == {}
    served.send(signal.SIGTERM)
    assert await served.ends() == 0


async def test_without_a_shared_store_it_is_refused(serve, tmp_path, sim):
    one = serve(None, "--workers", "2")
    one.file.write_text(project(sim.url))
    again = serve(None, "--workers", "2")
    assert await again.ends() == 2
    assert again.said.count("\n") == 1
    assert "limits and budgets would multiply" in again.said
    one.close()


async def test_a_worker_that_can_not_begin_ends_all_with_its_reason(serve, sim):
    served = serve(project(sim.url).replace('from_env = "OPENAI_API_KEY"', 'from_env = "NOT_THERE"'), "--workers", "2")
    assert await served.ends() == 2
    assert served.said.count("NOT_THERE") == 1
