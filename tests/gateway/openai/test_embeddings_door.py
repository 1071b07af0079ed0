"""`POST /v1/embeddings` and the models' doors."""

import base64
import struct

import pytest
from openai_doors import EVERY, ask, before_simulator

import spillway
from spillway.runtime.project import GatewayKey
from spillway.sim import Phase, Scenario, SimConfig

MODEL = "text-embedding-3-small"


async def embed(gateway, given, **fields):
    return await ask(gateway, "/v1/embeddings", {"model": MODEL, "input": given, **fields})


def rows(answer):
    assert answer.status == 200, answer.body
    assert [row["index"] for row in answer.json["data"]] == list(range(len(answer.json["data"])))
    return [row["embedding"] for row in answer.json["data"]]


async def test_numbers_and_base64_say_the_same():
    async with before_simulator() as gateway:
        numbers = rows(await embed(gateway, ["a word", "another"], encoding_format="float"))
        packed = rows(await embed(gateway, ["a word", "another"], encoding_format="base64"))
    for vector, text in zip(numbers, packed, strict=True):
        raw = base64.b64decode(text)
        assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(vector)


async def test_vectors_are_as_long_as_is_asked():
    async with before_simulator() as gateway:
        assert [len(vector) for vector in rows(await embed(gateway, "a", dimensions=8))] == [8]


@pytest.mark.parametrize(("given", "count"), [("a", 1), ([1, 2, 3], 1), ([[1, 2], [3]], 2), (["a", "b"], 2)])
async def test_texts_and_tokens_are_taken(given, count):
    async with before_simulator() as gateway:
        answer = await embed(gateway, given)
    assert len(rows(answer)) == count
    assert answer.json["usage"]["prompt_tokens"] > 0
    assert answer.json["model"] == MODEL


async def test_more_than_the_provider_takes_goes_out_in_batches():
    many = [f"text {n}" for n in range(2_100)]
    async with before_simulator() as gateway:
        answer = await embed(gateway, many)
        stats = gateway.simulator.stats()
        alone = await embed(gateway, many[2_099])
    assert stats["served"] == 2
    assert answer.headers["x-spillway-attempts"] == "2"
    assert float(answer.headers["x-spillway-cost-usd"]) == pytest.approx(stats["billed_usd"])
    vectors = rows(answer)
    assert len(vectors) == 2_100
    assert vectors[2_099] == rows(alone)[0]


class Heard(list):
    def on_served(self, record):
        self.append(record)


@pytest.mark.parametrize("fault", [None, "500"])
async def test_batches_are_one_request_in_the_record(fault):
    scenario = Scenario((Phase(fault=fault),)) if fault else Scenario()
    key = GatewayKey(name="a", key=spillway.Secret("key-a"), max_spend_per_day_usd=100.0)
    options = {"sim": SimConfig(seed=1, scenario=scenario), "retry": spillway.RetryPolicy(max_retries=0)}
    async with before_simulator(keys=[(key, key.key)], **options) as gateway:
        gateway.listeners.append(heard := Heard())
        shown = [(b"authorization", b"Bearer key-a")]
        body = {"model": MODEL, "input": [f"text {n}" for n in range(2_100)]}
        answer = await ask(gateway, "/v1/embeddings", body, headers=shown)
        (record,) = heard
        ledger = gateway.callers.every[0].ledger.snapshot()
    assert (ledger.open, ledger.reserved_pico, ledger.spent_pico) == (0, 0, record.cost_pico)
    assert (record.retries, record.fell_back, record.queued_s >= 0) == (0, False, True)
    if fault is None:
        assert (answer.status, record.outcome, record.attempts) == (200, "ok", 2)
        assert 0 < record.upstream_s <= record.elapsed_s
        assert record.cost_pico > 0
    else:
        assert (answer.status, record.outcome, record.cost_pico) == (502, "server_error", 0)
        assert answer.json["error"]["code"] == "server_error"
        assert 1 <= record.attempts <= 2


async def test_a_cap_on_the_cost_holds_for_all_batches_together():
    many = [f"t{n:05}" for n in range(4_096)]
    of_one_batch = 2_048 * 22 * 0.02e-6
    async with before_simulator() as gateway:
        capped = [(b"x-spillway-max-cost-usd", f"{1.5 * of_one_batch:.6f}".encode())]
        answer = await ask(gateway, "/v1/embeddings", {"model": MODEL, "input": many}, headers=capped)
        assert answer.status == 402
        assert gateway.simulator.stats()["asked"] == 0
        capped = [(b"x-spillway-max-cost-usd", f"{2.5 * of_one_batch:.6f}".encode())]
        answer = await ask(gateway, "/v1/embeddings", {"model": MODEL, "input": many}, headers=capped)
        assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"input": []}, None),
        ({"input": ""}, None),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_what_can_not_be_embedded_is_refused(body, param):
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/embeddings", {"model": MODEL, **body})
    assert answer.status == 400
    assert answer.json["error"]["code"] == "bad_request"
    assert answer.json["error"]["param"] == param


async def test_a_deployment_that_makes_no_vectors_says_so():
    async with before_simulator() as gateway:
        answer = await ask(gateway, "/v1/embeddings", {"model": "claude-haiku-4-5", "input": "a"})
    assert answer.status == 400
    assert "claude-haiku-4-5" in answer.json["error"]["message"]


async def test_every_deployment_is_listed_and_told_of():
    async with before_simulator() as gateway:
        listed = await ask(gateway, "/v1/models", method="GET")
        one = await ask(gateway, "/v1/models/luna", method="GET")
    assert {row["id"] for row in listed.json["data"]} == {*EVERY, MODEL}
    assert one.json == {"id": "luna", "object": "model", "created": 0, "owned_by": "spillway"}


async def test_what_a_key_may_not_ask_for_does_not_exist():
    key = GatewayKey(name="a", key=spillway.Secret("key-a"), models=("gpt-*",))
    shown = [(b"authorization", b"Bearer key-a")]
    async with before_simulator(keys=[(key, key.key)]) as gateway:
        listed = await ask(gateway, "/v1/models", method="GET", headers=shown)
        told = await ask(gateway, "/v1/models/gpt-4o-mini", method="GET", headers=shown)
        hidden = await ask(gateway, "/v1/models/luna", method="GET", headers=shown)
        unknown = await ask(gateway, "/v1/models/a/b", method="GET", headers=shown)
    assert [row["id"] for row in listed.json["data"]] == ["gpt-4o-mini"]
    assert told.status == 200
    assert (hidden.status, hidden.json["error"]["code"]) == (404, "model_not_found")
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")
