"""Each fault as a raw client sees it, in every dialect."""

import asyncio
import json
import socket

import aiohttp
import pytest
from simtools import stream_text, unary_finish, unary_text, unary_usage

from spillway.sim import FAULTS, Phase, Scenario

GOOGLE = {"gemini", "vertex"}

STATUS = {
    "429": 429,
    "429-retry-after=3": 429,
    "insufficient-quota": 429,
    "500": 500,
    "503": 503,
    "529": 529,
    "401": 401,
    "403": 403,
    "content-filter": 400,
    "context-length": 400,
    "html-error-page": 502,
}
SPECIAL = {
    ("litellm", "insufficient-quota"): 422,
    ("gemini", "401"): 400,
    ("anthropic", "content-filter"): 200,
    ("gemini", "content-filter"): 200,
    ("vertex", "content-filter"): 200,
}


@pytest.mark.parametrize("fault", STATUS)
async def test_refusals(start, dialect, fault):
    simulator, asker = await start()
    for stream in (False, True):
        refused = await asker.ask(dialect, fault=fault, stream=stream)
        assert refused.status == SPECIAL.get((dialect, fault), STATUS[fault])
        if fault == "html-error-page":
            assert refused.headers["content-type"].startswith("text/html")
        elif refused.status != 200:
            assert refused.headers["content-type"] == "application/json"
            assert refused.json["error"]["message"]
    stats = simulator.stats()
    assert (stats["asked"], stats["rejected"], stats["served"], stats["over_limit"]) == (2, 2, 0, 0)
    assert stats["billed_usd"] == 0


async def test_only_a_429_that_names_its_wait_names_it(start, dialect):
    _, asker = await start()
    plain = await asker.ask(dialect, fault="429")
    timed = await asker.ask(dialect, fault="429-retry-after=3")
    assert "retry-after" not in plain.headers
    assert "RetryInfo" not in plain.raw.decode()
    if dialect in GOOGLE:
        assert '"retryDelay":"3s"' in timed.raw.decode()
    else:
        assert timed.headers["retry-after"] == "3"


async def test_money_refusals_can_be_told_from_rate_limits(start):
    _, asker = await start()
    assert (await asker.ask("openai", fault="insufficient-quota")).json["error"]["type"] == "insufficient_quota"
    anthropic = await asker.ask("anthropic", fault="insufficient-quota")
    assert anthropic.json["error"]["details"]["error_code"] == "enforced_spend_limit_reached"
    assert "retry-after" not in anthropic.headers
    assert "PerDay" in (await asker.ask("gemini", fault="insufficient-quota")).raw.decode()


async def test_filtered_prompts(start):
    _, asker = await start()
    azure = (await asker.ask("azure", fault="content-filter")).json["error"]
    assert (azure["code"], azure["innererror"]["code"]) == ("content_filter", "ResponsibleAIPolicyViolation")
    assert (await asker.ask("anthropic", fault="content-filter")).json["stop_reason"] == "refusal"
    streamed = (await asker.ask("anthropic", fault="content-filter", stream=True)).events
    assert [event["type"] for event in streamed] == ["message_start", "message_delta", "message_stop"]
    blocked = (await asker.ask("gemini", fault="content-filter", stream=True)).events
    assert [event["promptFeedback"]["blockReason"] for event in blocked] == ["SAFETY"]


async def read_some(asker, dialect, **options):
    """Return what arrives before the connection fails, and how it failed."""
    arrived = b""
    try:
        async with asker.post(dialect, **options) as response:
            async for block in response.content.iter_any():
                arrived += block
    except (aiohttp.ClientError, ConnectionError) as error:
        return arrived, error
    return arrived, None


def pieces(dialect, raw):
    """Count the content chunks in the beginning of a stream."""
    count = 0
    for line in raw.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"data: {"):
            try:
                event = json.loads(line[6:])
            except ValueError:
                continue
            if "error" not in event and stream_text(dialect, [event]):
                count += 1
    return count


@pytest.mark.parametrize("after", [0, 1, 3, None, 1000])
async def test_truncated_streams_end_cleanly_without_their_marker(start, dialect, after):
    simulator, asker = await start()
    fault = "truncated-stream" if after is None else f"truncated-stream={after}"
    raw, error = await read_some(asker, dialect, prompt="in 12 words", stream=True, fault=fault)
    assert error is None
    assert pieces(dialect, raw) == min(12, 5 if after is None else after)
    for marker in (b"[DONE]", b"message_stop", b"finishReason", b'"finish_reason":"stop"'):
        assert marker not in raw
    assert simulator.stats()["spoiled"] == 1


async def test_a_truncated_unary_answer_is_shorter_than_it_said(start, dialect):
    _, asker = await start()
    raw, error = await read_some(asker, dialect, fault="truncated-stream")
    assert isinstance(error, aiohttp.ClientPayloadError)
    assert raw.startswith(b"{")


@pytest.mark.parametrize("stream", [False, True])
async def test_resets(start, dialect, stream):
    simulator, asker = await start()
    raw, error = await read_some(asker, dialect, stream=stream, fault="reset-before-headers")
    assert (raw, type(error)) == (b"", aiohttp.ClientOSError)
    raw, error = await read_some(asker, dialect, prompt="in 12 words", stream=stream, fault="reset-mid-stream=2")
    assert isinstance(error, aiohttp.ClientError)
    assert raw
    if stream:
        assert pieces(dialect, raw) == 2
    assert simulator.stats()["spoiled"] == 2


async def test_a_reset_is_a_reset_and_not_an_end(start):
    simulator, _ = await start()
    loop = asyncio.get_running_loop()
    with socket.create_connection(("127.0.0.1", simulator.port)) as raw:
        raw.setblocking(False)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {len(body)}"
        )
        await loop.sock_sendall(raw, f"{head}\r\nx-sim-fault: reset-before-headers\r\n\r\n{body}".encode())
        with pytest.raises(ConnectionResetError):
            await loop.sock_recv(raw, 100)


async def test_errors_in_the_middle_of_a_stream(start, dialect):
    _, asker = await start()
    raw, error = await read_some(asker, dialect, prompt="in 12 words", stream=True, fault="error-event-mid-stream=2")
    assert error is None
    assert pieces(dialect, raw) == 2
    if dialect == "anthropic":
        assert b'event: error\ndata: {"type":"error"' in raw
        assert b"message_stop" not in raw
    elif dialect == "gemini":
        tail = raw.rpartition(b"\r\n\r\n")[2]
        assert not tail.startswith(b"data:")
        assert json.loads(tail)["error"]["status"] == "UNAVAILABLE"
    else:
        assert b'data: {"error":' in raw
        assert raw.endswith(b"data: [DONE]\n\n") == (dialect == "litellm")
    unary = await asker.ask(dialect, fault="error-event-mid-stream")
    assert unary.status == 200
    assert "error" in unary.json


def parses(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


async def test_garbage(start, dialect):
    _, asker = await start()
    unary = await asker.ask(dialect, fault="garbage-json")
    with pytest.raises(ValueError):
        unary.json
    raw, error = await read_some(asker, dialect, prompt="in 12 words", stream=True, fault="garbage-json=3")
    assert error is None
    assert pieces(dialect, raw) == 11
    broken = [line for line in raw.splitlines() if line.startswith(b"data: {") and not parses(line[6:])]
    assert len(broken) == 1


async def test_invalid_utf8(start, dialect):
    _, asker = await start()
    for stream in (False, True):
        raw = (await asker.ask(dialect, stream=stream, fault="invalid-utf8")).raw
        with pytest.raises(UnicodeDecodeError):
            raw.decode()
        assert b"\xff\xfe" in raw


@pytest.mark.parametrize("stream", [False, True])
async def test_a_huge_line(start, stream):
    _, asker = await start()
    raw = (await asker.ask("openai", stream=stream, fault="huge-line")).raw
    longest = max(raw.split(b"\n"), key=len)
    assert len(longest) > 16 * 2**20
    json.loads(longest.removeprefix(b"data: "))
    assert raw.endswith(b"[DONE]\n\n") == stream


async def test_slow_drip_is_whole_and_slow(start):
    simulator, asker = await start()
    whole = await asker.ask("openai", "in 1 words")
    slow = await asker.ask("openai", "in 1 words", fault="slow-drip=0")
    assert slow.raw == whole.raw
    assert simulator.stats()["served"] == 2
    async with asker.post("openai", stream=True, fault="slow-drip=0.01") as response:
        blocks = [await response.content.readany() for _ in range(5)]
        assert b"data:".startswith(b"".join(blocks))
        response.close()


async def test_unknown_fields_events_and_reasons_stand_beside_the_same_text(start, dialect):
    simulator, asker = await start()
    plain = (await asker.ask(dialect)).json
    odd = (await asker.ask(dialect, fault="unknown-fields")).json
    assert unary_text(dialect, odd) == unary_text(dialect, plain)
    assert unary_usage(dialect, odd) == unary_usage(dialect, plain)
    assert unary_finish(dialect, odd).lower() == "x_unknown"
    assert odd["x_unknown"]
    raw = (await asker.ask(dialect, stream=True, fault="unknown-fields")).raw
    told = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: {")]
    assert all(event["x_unknown"] for event in told)
    assert sum("x_unknown" in {event.get("type"), event.get("object")} for event in told) == len(told) / 2
    assert raw.count(b": a comment") == len(told) / 2
    assert simulator.stats()["served"] == 3


@pytest.mark.parametrize("fault", ["stall-before-headers", "stall-mid-stream"])
@pytest.mark.parametrize("stream", [False, True])
async def test_stalls_end_with_the_client(start, dialect, fault, stream):
    simulator, asker = await start()
    task = asyncio.create_task(read_some(asker, dialect, stream=stream, fault=fault))
    while simulator.stats()["by_fault"].get(fault) is None:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert not task.done()
    assert simulator.stats()["in_flight"] == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await noticed(simulator)


async def noticed(simulator, within_s=0.1):
    loop = asyncio.get_running_loop()
    left = loop.time()
    while simulator.stats()["disconnected"] == 0:
        assert loop.time() - left < within_s
        await asyncio.sleep(0.001)
    assert simulator.stats()["in_flight"] == 0


async def test_stalls_end_with_the_server(start):
    simulator, asker = await start()
    tasks = [
        asyncio.create_task(read_some(asker, "openai", stream=stream, fault=fault))
        for fault in ("stall-before-headers", "stall-mid-stream")
        for stream in (False, True)
    ]
    while simulator.stats()["asked"] < 4:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    await asyncio.wait_for(simulator.aclose(), 1.0)
    assert all(error is not None for _, error in await asyncio.gather(*tasks))
    assert simulator.stats()["spoiled"] == 4


@pytest.mark.parametrize("after_s", [0.0, 0.02])
async def test_a_client_that_leaves_is_noticed_and_billed_for_what_it_got(start, after_s):
    simulator, asker = await start(chunk_delay_s=0.005)
    response = await asker.post("openai", "12345678 in 500 words", stream=True)
    await response.content.readany()
    await asyncio.sleep(after_s)
    response.close()
    await noticed(simulator)
    billed = simulator.stats()["billed_usd"]
    assert 0 < billed < (6 * 0.15 + 100 * 0.6) / 1e6


async def test_an_unread_unary_answer_costs_all_of_it(start):
    simulator, asker = await start(latency_s=5.0)
    task = asyncio.create_task(asker.ask("openai", "12345678 in 20 words"))
    while simulator.stats()["asked"] == 0:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await noticed(simulator)
    assert simulator.stats()["billed_usd"] == pytest.approx((5 * 0.15 + 20 * 0.6) / 1e6)


async def test_an_unknown_fault_is_400_with_the_nearest(start, dialect):
    _, asker = await start()
    refused = await asker.ask(dialect, fault="truncated-streams")
    assert refused.status == 400
    if dialect != "litellm":
        assert refused.json["error"]["message"] == "unknown fault 'truncated-streams' (nearest: 'truncated-stream')"
    assert "truncated-stream" in refused.raw.decode()


async def test_scenarios_strike_and_can_change(start):
    scenario = Scenario((Phase(fault="503", path="/v1/messages"),))
    simulator, asker = await start(scenario=scenario)
    assert (await asker.ask("anthropic")).status == 503
    assert (await asker.ask("openai")).status == 200
    async with asker.session.post(
        f"{simulator.url}/sim/scenario", json={"phase": [{"fault": "529", "from_s": 0, "to_s": 60}]}
    ) as response:
        assert response.status == 200
    assert (await asker.ask("openai")).status == 529
    assert (await asker.ask("openai", fault="500")).status == 500
    simulator.set_scenario({})
    assert (await asker.ask("openai")).status == 200


async def test_the_same_seed_throws_the_same_dice(start):
    async def outcomes(seed):
        simulator, asker = await start(seed=seed, scenario=Scenario((Phase(fault="503", p=0.5),)))
        first = [(await asker.ask("openai")).status for _ in range(30)]
        simulator.reset()
        assert [(await asker.ask("openai")).status for _ in range(30)] == first
        return first

    assert await outcomes(1) == await outcomes(1) != await outcomes(2)


def test_every_fault_has_a_test():
    struck = {name.partition("=")[0] for name in STATUS}
    struck |= {"truncated-stream", "reset-before-headers", "reset-mid-stream", "error-event-mid-stream"}
    struck |= {"garbage-json", "invalid-utf8", "huge-line", "slow-drip", "stall-before-headers", "stall-mid-stream"}
    struck |= {"unknown-fields"}
    assert struck == set(FAULTS)
