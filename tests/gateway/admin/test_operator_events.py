"""The stream of events: what comes, when it comes, and that it costs little."""

import asyncio

import pytest
from operated import PRICE, operate

import spillway
from spillway.gateway.admin.events import MOST_READERS
from spillway.gateway.attendance import WRITE_TIMEOUT_S
from spillway.testing import Reply


async def reading(o, **more):
    line = o.open("GET", "/admin/events", **more)
    await asyncio.sleep(0.1)
    return line


def test_it_begins_with_what_was_and_goes_on_with_what_is():
    async def test(o):
        await o.chat()
        line = await reading(o)
        assert line.answer.status == 200
        assert line.answer.headers["content-type"].startswith("text/event-stream")
        assert line.answer.headers["cache-control"] == "no-cache"
        names = [name for name, _ in line.events()]
        assert names == ["hello", "state"]
        hello = line.events("hello")[0]
        assert [r["model"] for r in hello["requests"]] == ["m"]
        assert hello["history"]["whole"][0]["ok"] == 1
        assert hello["version"] == spillway.__version__
        await o.chat()
        await asyncio.sleep(0.3)
        ((row,),) = [told["requests"] for told in line.events("requests")]
        assert row["number"] == 2
        await asyncio.sleep(3)
        assert 4 <= len(line.events("state")) <= 5
        assert line.events("state")[-1]["history"]["whole"][-1]["ok"] == 2
        await line.leave()

    operate(test)


def test_a_request_is_told_with_its_attempts_and_cost():
    async def test(o):
        line = await reading(o)
        answer = await o.chat(headers={"x-request-id": "mine-1"})
        await asyncio.sleep(0.3)
        (row,) = line.events("requests")[0]["requests"]
        assert row["request_id"] == "mine-1"
        assert (row["door"], row["model"], row["deployment"]) == ("chat", "m", "n")
        assert (row["kind"], row["outcome"], row["status"]) == ("ok", "ok", 200)
        assert row["fell_back"] is True
        assert row["attempts"] == 2
        assert [(a["deployment"], a["outcome"]) for a in row["tried"]] == [("m", "server_error"), ("n", "ok")]
        assert row["cost_usd"] == pytest.approx(float(answer.headers["x-spillway-cost-usd"]))
        assert (row["input_tokens"], row["output_tokens"]) == (10, 5)
        await line.leave()

    made = [
        spillway.Deployment(name="m", fallback=("n",), pricing=PRICE, retry=spillway.RetryPolicy(max_retries=0)),
        spillway.Deployment(name="n", pricing=PRICE),
    ]
    operate(test, scripts={"m": (spillway.ServerError("down", status=503),), "n": ("ok",)}, deployments=made)


def test_refusals_are_told_with_whose_limit_it_was():
    async def test(o):
        line = await reading(o)
        await o.do("m", "drain")
        await o.chat()
        await o.chat("unknown")
        await asyncio.sleep(0.3)
        rows = line.events("requests")[0]["requests"]
        assert [(r["kind"], r["outcome"], r["limited_by"], r["deployment"]) for r in rows] == [
            ("limited", "backpressure", "queue", "m"),
            ("refused", "model_not_found", None, ""),
        ]
        assert [e["what"] for e in line.events("journal")[0]] == ["taken out of service; 0 in flight will finish"]
        assert line.events("state")[-1]["deployments"][0]["in_service"] is False
        await line.leave()

    operate(test)


def test_nobodys_words_are_told():
    async def test(o):
        line = await reading(o)
        body = {"messages": [{"role": "user", "content": "a-secret-prompt"}]}
        await o.chat(body=body, headers={"authorization": "Bearer sk-caller"})
        await asyncio.sleep(1.5)
        told = line.answer.body.decode()
        assert "a-secret-prompt" not in told
        assert "a-secret-answer" not in told
        assert "sk-caller" not in told
        await line.leave()

    operate(test, ("a-secret-answer",))


def test_operators_and_health_checks_are_not_among_the_requests():
    async def test(o):
        for path in ("/healthz", "/readyz", "/dashboard", "/admin/deployments", "/admin/deployments/m"):
            await o.get(path)
        assert o.app.console.recent.count == 0
        await o.get("/v1/models")
        await o.get("/nowhere")
        assert [r["door"] for r in o.app.console.recent.since(0, 0.0)] == ["models", ""]

    operate(test)


def test_a_flood_is_told_by_its_newest_and_how_many_were_missed():
    async def test(o):
        line = await reading(o)
        await asyncio.gather(*(o.chat() for _ in range(250)))
        await asyncio.sleep(0.3)
        told = line.events("requests")[0]
        assert len(told["requests"]) == 100
        assert told["missed"] == 150
        assert told["requests"][-1]["number"] == 250
        await line.leave()

    operate(test)


def test_a_reader_who_takes_nothing_is_cut_and_nothing_piles_up():
    async def test(o):
        line = await reading(o)
        line.taking.clear()
        await asyncio.sleep(1.1)
        for _ in range(20):
            await asyncio.gather(*(o.chat() for _ in range(20)))
        sent = len(line.sent)
        await asyncio.sleep(WRITE_TIMEOUT_S + 1)
        assert line.task.done()
        assert len(line.sent) == sent
        assert o.app.console.readers == 0
        assert o.app.in_flight == 0

    operate(test)


def test_a_reader_who_leaves_is_noticed_at_once():
    async def test(o):
        line = await reading(o)
        began = asyncio.get_running_loop().time()
        await line.leave()
        assert asyncio.get_running_loop().time() - began < 0.1
        assert o.app.console.readers == 0

    operate(test)


def test_the_number_of_readers_is_bounded():
    async def test(o):
        lines = [await reading(o) for _ in range(MOST_READERS)]
        more = await o.get("/admin/events")
        assert more.status == 503
        assert more.headers["retry-after"] == "5"
        assert more.said == f"{MOST_READERS} readers are looking already"
        await lines.pop().leave()
        lines.append(await reading(o))
        assert lines[-1].answer.status == 200
        for line in lines:
            await line.leave()

    operate(test)


def test_a_gateway_that_is_about_to_stop_says_so_and_ends_the_stream():
    async def test(o):
        line = await reading(o)
        o.app.draining = True
        await asyncio.sleep(0.3)
        assert line.task.done()
        assert line.events()[-1] == ("bye", {"reason": "the gateway is about to stop"})
        assert line.sent[-1].get("more_body", False) is False

    operate(test)


def test_a_circuit_that_moves_by_itself_is_in_the_journal():
    async def test(o):
        line = await reading(o)
        for _ in range(2):
            await o.chat()
        await asyncio.sleep(0.3)
        told = [(e["who"], e["what"]) for told in line.events("journal") for e in told]
        assert told == [("circuit", "closed → open (consecutive failures)")]
        await line.leave()

    operate(
        test,
        (spillway.ServerError("down", status=503),),
        circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=2),
        retry=spillway.RetryPolicy(max_retries=0),
    )


def test_the_history_is_kept_in_buckets_of_ten_seconds_for_a_quarter_of_an_hour():
    async def test(o):
        for _ in range(100):
            await o.chat()
            await asyncio.sleep(9.5)
        line = await reading(o)
        history = line.events("hello")[0]["history"]
        rows = history["whole"]
        assert len(rows) == 90 or len(rows) == 89
        assert sum(row["ok"] for row in rows) < 100
        numbers = [row["number"] for row in rows]
        assert numbers == sorted(set(numbers))
        assert rows == history["by_deployment"]["m"]
        assert 0.45 < rows[-2]["p50_s"] < 0.6
        assert rows[-2]["tokens"] in {15, 30}
        # The wall clock stands where the loop's second 0 does: both tell the same instant.
        state = line.events("state")[0]
        assert abs(history["epoch"] + asyncio.get_running_loop().time() - state["at"]) < 5
        await line.leave()

    operate(test, (Reply(delay_s=0.5),))
