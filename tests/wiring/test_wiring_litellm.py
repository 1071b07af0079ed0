"""A LiteLLM proxy through the door: how often it is asked again, what it says of costs, and whether it is there."""

import asyncio
import socket

import pytest
from stage import ended

import spillway
from spillway import LiteLlmConfig, Secret
from spillway.core.options import Timeouts
from spillway.runtime.config import load
from spillway.sim import SimConfig, Simulator
from spillway.testing.byte_server import ByteServer, Do, answer

KEY = Secret("sk-litellm-1")
CHAT = b'{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
USAGE = b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
VECTORS = b'{"data":[{"index":0,"embedding":[0.5]}],' + USAGE
CHEAP = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0)
ALIVE = [Do.READ, answer(b'"I\'m alive!"')]


def cluster_of(endpoint, **options):
    options.setdefault("retry", spillway.RetryPolicy(max_retries=0))
    config = LiteLlmConfig(endpoint=endpoint, api_key=options.pop("api_key", KEY))
    return spillway.Cluster(
        [spillway.Deployment(name="m", model="of-our-own", runtime_config=config, **options)], environ={}
    )


def saying(cost, body=CHAT + USAGE):
    return [
        Do.READ,
        answer(body, headers={"content-type": "application/json", "x-litellm-response-cost": cost}),
    ]


@pytest.mark.parametrize(
    ("told", "retries"),
    [
        ({"runtime_config": LiteLlmConfig(api_key=KEY)}, 1),
        ({"runtime": "litellm"}, 1),
        ({"model": "litellm/gpt-4o"}, 1),
        ({"model": "gpt-4o"}, 3),
        ({"runtime": "litellm", "retry": spillway.RetryPolicy(max_retries=3)}, 3),
        ({"runtime": "litellm", "retry": spillway.RetryPolicy(jitter="none")}, 3),
    ],
)
def test_a_proxy_that_repeats_by_itself_is_asked_twice_unless_the_deployment_says(told, retries):
    assert spillway.Deployment(name="m", **told).retry.max_retries == retries


@pytest.mark.parametrize(
    ("tables", "retries"),
    [
        ("", 1),
        ('[deployment.retry]\njitter = "none"\n', 1),
        ("[deployment.retry]\nmax_retries = 4\n", 4),
        ("[defaults.retry]\nmax_retries = 2\n", 2),
        ("[defaults.retry]\ninitial_backoff_s = 2.0\n", 1),
    ],
)
def test_so_it_is_in_a_file(tmp_path, tables, retries):
    (tmp_path / "spillway.toml").write_text(f'[[deployment]]\nname = "m"\nruntime = "litellm"\n{tables}')
    (found,) = load(tmp_path / "spillway.toml").deployments
    assert found.retry.max_retries == retries


async def test_a_failing_proxy_sees_two_attempts():
    async with Simulator(SimConfig(seed=1)) as simulator:
        deployment = spillway.Deployment(
            name="gpt-4o-mini", runtime_config=LiteLlmConfig(endpoint=f"{simulator.url}/litellm/v1", api_key=KEY)
        )
        async with spillway.Cluster([deployment], environ={}) as cluster:
            fault = {"x-sim-fault": "503"}
            error, _ = await ended(cluster.generate("gpt-4o-mini", "hi", extra_headers=fault))
        assert (error.attempts, error.reason) == (2, "upstream")
        assert simulator.stats()["asked"] == 2


@pytest.mark.parametrize(
    ("cost", "usd"),
    [("1.35e-05", 1.35e-05), ("0.000123456789", 0.000123456789), ("1E-12", 1e-12), ("0.0", 0.0), ("0", 0.0)],
)
async def test_what_the_proxy_says_it_cost_is_the_cost_where_no_price_is_known(cost, usd):
    async with ByteServer(saying(cost)) as server, cluster_of(server.url) as cluster:
        tokens = await cluster.generate("m", "hi")
        assert (tokens.cost_usd, tokens.cost_estimated) == (usd, False)
        assert tokens.about["response_cost"] == cost
        assert cluster.metrics().per_deployment["m"].cost_usd == (usd or None)


@pytest.mark.parametrize("cost", ["", "cheap", "nan", "-1", "1e999999999", "1" * 80])
async def test_what_is_no_amount_of_money_is_no_cost(cost):
    async with ByteServer(saying(cost)) as server, cluster_of(server.url) as cluster:
        assert (await cluster.generate("m", "hi")).cost_usd is None


async def test_the_price_of_the_deployment_comes_first():
    async with ByteServer(saying("0.5")) as server, cluster_of(server.url, pricing=CHEAP) as cluster:
        tokens = await cluster.generate("m", "hi")
        assert (tokens.cost_usd, tokens.about["response_cost"]) == (5e-6, "0.5")


async def test_vectors_have_the_cost_too():
    async with ByteServer(saying("2e-07", VECTORS)) as server, cluster_of(server.url) as cluster:
        embeddings = await cluster.embed("m", "hi")
        assert (embeddings.vectors, embeddings.cost_usd) == (((0.5,),), 2e-7)


async def test_cache_controls_and_marks_go_through_as_they_are():
    marked = [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]
    thought = {
        "role": "assistant",
        "content": "b",
        "reasoning_content": "why",
        "thinking_blocks": [{"type": "thinking", "thinking": "why", "signature": "s"}],
        "provider_specific_fields": {"citations": [1]},
    }
    async with ByteServer(saying("0")) as server, cluster_of(server.url) as cluster:
        await cluster.generate(
            "m",
            [{"role": "user", "content": marked}, thought, {"role": "user", "content": "on"}],
            extra={"cache": {"no-cache": True}},
            extra_headers={"Cache-Control": "no-store", "x-litellm-tags": "b"},
        )
        sent = bytes(server.conversations[0].received)
    assert b'"cache":{"no-cache":true}' in sent
    assert b'"cache_control":{"type":"ephemeral"}' in sent
    assert b'"thinking_blocks":[{"type":"thinking","thinking":"why","signature":"s"}]' in sent
    assert b'"provider_specific_fields":{"citations":[1]}' in sent
    assert b"cache-control: no-store" in sent.lower()


@pytest.mark.parametrize(("timeout_s", "told"), [(None, False), (7.5, True)])
async def test_the_time_a_caller_gives_is_told_to_the_proxy(timeout_s, told):
    async with ByteServer(saying("0")) as server, cluster_of(server.url) as cluster:
        await cluster.generate("m", "hi", timeout_s=timeout_s)
        head = bytes(server.conversations[0].received).lower()
    assert (b"x-litellm-timeout: " in head) == told
    if told:
        assert 7.0 < float(head.partition(b"x-litellm-timeout: ")[2].partition(b"\r\n")[0]) <= 7.5


async def test_a_rebuilt_session_first_looks_whether_the_proxy_is_there():
    async with ByteServer(saying("0"), ALIVE + saying("0")) as server, cluster_of(server.url) as cluster:
        await cluster.generate("m", "hi")
        await cluster.deployment("m").rebuild_session()
        await cluster.generate("m", "hi")
        before, after = [bytes(c.received) for c in server.conversations]
    assert before.startswith(b"POST /v1/chat/completions ")
    asked, _, then = after.partition(b"\r\n\r\n")
    assert asked.startswith(b"GET /health/liveliness ")
    assert b"sk-litellm" not in asked
    assert then.startswith(b"POST /v1/chat/completions ")


async def test_a_proxy_that_is_gone_fails_the_rebuild_in_one_line_and_the_old_session_stays():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with cluster_of(f"http://127.0.0.1:{port}/v1") as cluster:
        with pytest.raises(spillway.InferenceError) as failed:
            await cluster.deployment("m").rebuild_session()
        message = str(failed.value)
        assert (failed.value.code, failed.value.reason) == ("unauthorized_upstream", "rebuild_failed")
        assert f"http://127.0.0.1:{port}/health/liveliness can't be reached" in message
        assert "\n" not in message
        assert cluster.deployment("m").healthy()


@pytest.mark.parametrize(
    ("script", "words"), [([Do.READ, Do.STALL], "within 0.1 s"), ([Do.READ, answer(b"", 503)], "HTTP 503")]
)
async def test_so_does_one_that_does_not_answer_in_time_or_well(script, words):
    async with (
        ByteServer(script) as server,
        cluster_of(server.url, timeouts=Timeouts(connect_timeout_s=0.1)) as cluster,
    ):
        with pytest.raises(spillway.InferenceError, match=words):
            await cluster.deployment("m").rebuild_session()


async def test_a_refused_key_is_replaced_by_its_source_and_the_proxy_looked_for(tmp_path):
    key = tmp_path / "key"
    key.write_text("sk-old")
    async with Simulator(SimConfig(seed=1, valid_keys=frozenset({"sk-new"}))) as simulator:
        source = spillway.SecretRef(from_file=str(key))
        async with cluster_of(f"{simulator.url}/litellm/v1", api_key=source) as cluster:
            refused = asyncio.create_task(ended(cluster.generate("m", "hi")))
            error, _ = await refused
            assert error.code == "unauthorized_upstream"
            key.write_text("sk-new")
            await cluster.deployment("m").rebuild_session()
            assert (await cluster.generate("m", "hi")).text
