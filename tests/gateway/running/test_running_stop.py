"""The end of a serving process: nobody new, everybody finishes or is told, and a kill leaves nothing broken."""

import asyncio
import signal
import time

import pytest
from running_rig import outcome, project

STREAMS = 100


async def streams(serving, count, **options):
    """Begin so many streams; return their tasks once each has content."""
    began = [asyncio.Event() for _ in range(count)]
    tasks = [asyncio.create_task(serving.chat(stream=True, on_bytes=event, **options)) for event in began]
    await asyncio.wait_for(asyncio.gather(*(event.wait() for event in began)), 30.0)
    return tasks


async def refused(serving):
    """Wait until no new connection is taken."""
    until = time.monotonic() + 5.0
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", serving.port)
        except ConnectionRefusedError:
            return
        writer.close()
        assert time.monotonic() < until, "new connections are taken"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_hundred_streams_survive_it(serve, slow_sim, number, code):
    serving = await serve(project(slow_sim.url)).up()
    tasks = await streams(serving, STREAMS)
    serving.send(number)
    await refused(serving)
    assert sum(task.done() for task in tasks) < STREAMS
    answers = await asyncio.gather(*tasks)
    assert [outcome(body) for _, _, body in answers] == ["done"] * STREAMS
    assert await serving.ends(10.0) == code
    assert f"{STREAMS} under way" in serving.said
    assert "stopped: all have finished" in serving.said


async def test_a_whole_answer_and_one_that_waits_in_the_queue_survive_it(serve, slow_sim):
    serving = await serve(project(slow_sim.url, more="[deployment.serving]\nmax_concurrent = 1")).up()
    (running,) = await streams(serving, 1)
    waiting = [asyncio.create_task(serving.chat()) for _ in range(2)]
    await asyncio.sleep(0.3)
    serving.send(signal.SIGTERM)
    await refused(serving)
    assert outcome((await running)[2]) == "done"
    assert [status for status, _, _ in await asyncio.gather(*waiting)] == [200, 200]
    assert await serving.ends(10.0) == 0


async def test_a_connection_that_is_kept_is_closed_and_so_ready_no_more(serve, sim):
    serving = await serve(project(sim.url)).up()
    assert (await serving.ask("GET", "/readyz"))[0] == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
    writer.write(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    assert b"200 OK" in await reader.read(4096)
    serving.send(signal.SIGTERM)
    assert await asyncio.wait_for(reader.read(), 5.0) == b""
    writer.close()
    assert await serving.ends(5.0) == 0


async def test_a_second_signal_ends_streams_at_once_and_tells_them(serve, slow_sim):
    serving = await serve(project(slow_sim.url)).up()
    tasks = await streams(serving, 20, text="a" * 200)
    serving.send(signal.SIGTERM)
    await serving.says("stopping")
    began = time.monotonic()
    serving.send(signal.SIGTERM)
    ends = [outcome(body) for _, _, body in await asyncio.gather(*tasks)]
    assert set(ends) <= {"error", "done"}
    assert "error" in ends
    assert await serving.ends(10.0) == 0
    assert time.monotonic() - began < 5.0
    assert "had to be ended" in serving.said


async def test_who_has_nothing_yet_when_it_ends_at_once_is_sent_elsewhere(serve, slow_sim):
    serving = await serve(project(slow_sim.url, more="[deployment.serving]\nmax_concurrent = 1")).up()
    (running,) = await streams(serving, 1)
    waiting = asyncio.create_task(serving.chat())
    await asyncio.sleep(0.3)
    serving.send(signal.SIGTERM)
    await serving.says("stopping")
    serving.send(signal.SIGINT)
    status, headers, body = await waiting
    assert status == 429
    assert b"shutting down" in body
    assert headers["retry-after"]
    assert outcome((await running)[2]) in {"error", "done"}
    assert await serving.ends(10.0) == 0


async def test_a_kill_leaves_nothing_broken(serve, slow_sim, tmp_path):
    text = project(slow_sim.url)
    first = await serve(text).up()
    tasks = await streams(first, 5)
    first.send(signal.SIGKILL)
    await first.ends(5.0)
    await asyncio.gather(*tasks, return_exceptions=True)
    again = await serve(text.replace("127.0.0.1:0", f"127.0.0.1:{first.port}")).up()
    assert again.port == first.port
    assert (await again.chat())[0] == 200


async def test_a_signal_before_it_serves_ends_it_in_order(serve, sim):
    slow = '{ from_command = ["sleep", "9"] }'
    serving = serve(project(sim.url).replace('{ from_env = "OPENAI_API_KEY" }', slow))
    await asyncio.sleep(1.5)
    began = time.monotonic()
    serving.send(signal.SIGTERM)
    assert await serving.ends(5.0) == 0
    assert time.monotonic() - began < 3.0
    assert "serving" not in serving.said
