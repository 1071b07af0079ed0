"""Nothing that a cassette writes holds eight characters in a row of any secret, wherever a provider quotes it."""

import base64
import json
import re

import pytest
from stage import ended

import spillway
from spillway import Secret, SecretRef
from spillway.sim import SimConfig, Simulator
from spillway.testing import Cassette
from spillway.testing.byte_server import ByteServer, Do, answer, chunk
from spillway.testing.record_scrub import MASK, Scrubber

FIRST = "sk-QzJgHkQzJmNpQzJqRsQzJtUvQzJ"
SECOND = 'odd"QzJwWz/QzJvTk+QzJhGp=QzJnMr'
ORGANISATION = "org-QzJkJpQzJrTqQzJ"
PROJECT = "proj-QzJpPwQzJtTzQzJ"
COOKIE = "QzJzZqQzJgNnQzJmHhQzJ"
GIVEN = "QzJjWkQzJkKpQzJrUuQzJ"
TOKEN = "QzJnNqQzJwHjQzJqQmQzJ"
CANARIES = (FIRST, SECOND, ORGANISATION, PROJECT, COOKIE, GIVEN, TOKEN)
PRICING = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0)
JSON = {"content-type": "application/json"}
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def completion(text):
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return json.dumps({"id": "c", "model": "m", "choices": choices, "usage": usage, "access_token": TOKEN}).encode()


def event(text, finish=None):
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [delta]}).encode() + b"\n\n"


def refusal(key):
    said = f"Incorrect API key provided: {key[:20]}. Organization {ORGANISATION}."
    return answer(json.dumps({"error": {"message": said, "code": "invalid_api_key"}}).encode(), 401, JSON)


def leaks(text):
    pieces = [text, *(base64.b64decode(found).decode("latin-1") for found in re.findall(r'"base64":"([^"]+)"', text))]
    forms = [form for secret in CANARIES for form in (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)))]
    return [form for form in forms for at in range(len(form) - 7) for text in pieces if form[at : at + 8] in text]


def script():
    stream = event(f"the key is {FIRST} and {SECOND}") + event("done", "stop") + b"data: [DONE]\n\n"
    cut = stream.index(FIRST.encode()) + 11
    headers = JSON | {"set-cookie": f"sid={COOKIE}", "openai-organization": ORGANISATION, "x-request-id": "req-1"}
    return [
        Do.READ, answer(completion(f"before it is known: {SECOND}, {PROJECT}"), headers=headers),
        Do.READ, EVENTS + chunk(stream[:cut]), 0.03, chunk(stream[cut : cut + 9]), 0.03, chunk(stream[cut + 9 :]) + b"0\r\n\r\n",
        Do.READ, EVENTS + chunk(event("x") + b"\xff" + FIRST.encode()), 0.03, Do.RST,
        Do.READ, refusal(FIRST), Do.READ, refusal(SECOND),
    ]  # fmt: skip


async def drained(stream):
    return [chunk async for chunk in stream]


async def talk(url, keys):
    config = spillway.OpenAiConfig(
        endpoint=url, api_key=SecretRef(from_file=str(keys)), organization=ORGANISATION, project=PROJECT
    )
    deployment = spillway.Deployment(
        name="m", runtime_config=config, retry=spillway.RetryPolicy(max_retries=0), pricing=PRICING
    )
    said = []
    async with spillway.Cluster([deployment], environ={}) as cluster:
        said.append((await cluster.generate("m", f"Keep {GIVEN} to yourself, and {FIRST}")).text)
        said.append("".join([chunk.text_delta async for chunk in cluster.stream("m", "stream")]))
        error, _ = await ended(drained(cluster.stream("m", "break")))
        said.append(type(error))
        keys.write_text(SECOND)
        error, _ = await ended(cluster.generate("m", "refused"))
        said.append((type(error), error.attempts))
    return said


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "key"
    path.write_text(FIRST)
    return path


async def test_no_part_of_a_secret_is_written(tmp_path, keys):
    path = tmp_path / "c.jsonl"
    steps = script()
    second = [Do.READ, refusal(FIRST), Do.READ, refusal(SECOND)]
    async with ByteServer(steps, second) as server:
        with Cassette(path, secrets=[Secret(GIVEN)]):
            said = await talk(server.url, keys)
        asked = b"".join(bytes(conversation.received) for conversation in server.conversations).decode()
    assert all(secret in asked for secret in (FIRST, SECOND, ORGANISATION, PROJECT, GIVEN))
    assert SECOND in said[0]
    assert FIRST in said[1]
    assert said[2:] == [spillway.StreamInterrupted, (spillway.Unauthorized, 2)]
    text = path.read_text()
    assert leaks(text) == []
    assert text.count(MASK) >= 8
    assert "set-cookie" not in text
    assert "authorization" not in text.lower()
    keys.write_text(FIRST)
    with Cassette(path, mode="replay") as cassette:
        again = await talk("http://nowhere.invalid/v1", keys)
        assert (cassette.misses, cassette.unused) == ([], 1)  # a replayed key is the same before and after
    assert again[0] == f"before it is known: {MASK}, {MASK}"
    assert again[1] == f"the key is {MASK} and {MASK}done"
    assert again[2:] == [spillway.StreamInterrupted, (spillway.Unauthorized, 1)]


async def test_all_runtimes_keep_their_keys_out_of_it(tmp_path):
    configs = {
        "gpt-4o-mini": lambda url: spillway.OpenAiConfig(
            endpoint=f"{url}/v1", api_key=FIRST, organization=ORGANISATION
        ),
        "gpt-4o": lambda url: spillway.OpenAiConfig(variant="azure", endpoint=url, api_key=FIRST),
        "claude-haiku-4-5": lambda url: spillway.AnthropicConfig(endpoint=url, api_key=FIRST),
        "gemini-2.5-flash": lambda url: spillway.GeminiConfig(endpoint=url, api_key=FIRST),
        "gemini-3.8-flash": lambda url: spillway.GeminiConfig(
            variant="vertex", project=PROJECT, region="europe-west1", endpoint=url, api_key=FIRST
        ),
        "litellm/m": lambda url: spillway.LiteLlmConfig(endpoint=f"{url}/litellm/v1", api_key=FIRST),
    }
    path = tmp_path / "c.jsonl"
    async with Simulator(SimConfig(seed=1)) as sim:
        deployments = [
            spillway.Deployment(name=n, runtime_config=c(sim.url), pricing=PRICING) for n, c in configs.items()
        ]
        with Cassette(path):
            async with spillway.Cluster(deployments, environ={}) as cluster:
                for name in configs:
                    await cluster.generate(name, f"My key is {FIRST}")
                    await ended(cluster.generate(name, "Say hello", extra_headers={"x-sim-fault": "401"}))
        assert sim.stats()["asked"] == 2 * len(configs)
    assert leaks(path.read_text()) == []
    assert "/projects/[redacted]/locations/europe-west1/" in path.read_text()
    with Cassette(path):
        deployments = [
            spillway.Deployment(name=name, runtime_config=config("http://nowhere.invalid"), pricing=PRICING)
            for name, config in configs.items()
        ]
        async with spillway.Cluster(deployments, environ={}) as cluster:
            for name in configs:
                assert (await cluster.generate(name, f"My key is {FIRST}")).text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"access_token": "abc def", "n": 1}', f'{{"access_token": "{MASK}", "n": 1}}'),
        ("eyJhbGciOi.eyJzdWIiOi.c2lnbmF0", MASK),
        ("an sk-proj-0123456789abcdef key", f"an {MASK} key"),
        ("a risk-free task, organised", "a risk-free task, organised"),
        ("org-0123456789abcdefghij asked", f"{MASK} asked"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----", MASK),
        ("hunter2hunter2!", f"{MASK}!"),
        ("unter2hunte", MASK),
        ("hunter2", "hunter2"),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_what_does_not_is_not(text, left):
    assert Scrubber(["hunter2hunter2"]).scrub(text.encode()).decode() == left


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 30])
def test_a_secret_in_pieces_is_masked_whatever_the_cuts(size):
    text = b"one hunter2hunter2 two hunter2hunter2hunter2hunter2 three"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    scrubbed = Scrubber(["hunter2hunter2"]).scrub_pieces(pieces)
    assert len(scrubbed) == len(pieces)
    assert b"".join(scrubbed).decode() == f"one {MASK} two {MASK} three"


def test_a_path_keeps_its_query_but_for_keys():
    path = "/v1beta/models/m:generateContent?alt=sse&key=AIzaSomething&access_token=x&v=1"
    assert Scrubber().path(path) == f"/v1beta/models/m:generateContent?alt=sse&key={MASK}&access_token={MASK}&v=1"
