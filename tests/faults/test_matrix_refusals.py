"""Refusals, through a Cluster: waits that a provider asks for, and credentials that it does not take."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from matrix import DIALECTS, OPENAI, PATIENCE_S, RETRIES, TEXT, always, rig

import spillway
from spillway import CircuitBreakerConfig, Forbidden, RateLimited, RetryPolicy, ServerError, Unauthorized
from spillway.testing.byte_server import Do, answer

SOON_S = 0.15
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


def http_date(seconds):
    return (NOW + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")


def refused(status=429, **headers):
    body = json.dumps({"error": {"message": "slow down"}}).encode()
    return answer(
        body, status, {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


def then_good(first, stream):
    return [Do.READ, first, Do.READ, OPENAI.good(stream=stream), Do.STALL]


OBEYED = {
    "seconds": {"retry_after": "0.15"},
    "milliseconds": {"retry_after_ms": "150"},
    "milliseconds before seconds": {"retry_after": "5", "retry_after_ms": "150"},
    "blanks around it": {"retry_after": "  0.15 "},
}
IGNORED = {
    "zero": {"retry_after": "0"},
    "empty": {"retry_after": ""},
    "negative": {"retry_after": "-10"},
    "signed": {"retry_after": "+5"},
    "scientific": {"retry_after": "1e3"},
    "infinite": {"retry_after": "inf"},
    "no number": {"retry_after": "soon"},
    "underscored": {"retry_after": "1_000"},
    "a bad date": {"retry_after": "Zun, 29 Sep 2099 16:26:57 GMT"},
    "a date in the past": {"retry_after": http_date(-10), "date": http_date(0)},
    "the present": {"retry_after": http_date(0), "date": http_date(0)},
}
TOO_LONG = {
    "an hour": ({"retry_after": "3600"}, 3600.0),
    "35 digits": ({"retry_after": "9" * 35}, 1e35),
    "a date an hour ahead": ({"retry_after": http_date(3600), "date": http_date(0)}, 3600.0),
    "just over the deadline": ({"retry_after": "10.5"}, 10.5),
}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", OBEYED.values(), ids=OBEYED)
async def test_wait_that_is_asked_for_is_kept(headers, status, stream):
    """However short the longest backoff of our own is."""
    policy = RetryPolicy(max_retries=RETRIES, initial_backoff_s=0.001, max_backoff_s=0.002)
    async with rig(then_good(refused(status, **headers), stream), retry=policy) as here:
        tokens, error, text, elapsed = await here.ask(stream=stream)
        assert (error, text, tokens.attempts) == (None, TEXT, 2)
        assert SOON_S <= elapsed + 0.001 <= SOON_S + PATIENCE_S
        assert (here.breaker.failures, here.breaker.released) == ((0, 1) if status == 429 else (1, 0))
        assert here.books.attempts[0].cost_pico == 0


async def test_wait_by_date_counts_from_the_servers_own_clock(stream=True):
    headers = {"retry_after": http_date(1), "date": http_date(0)}
    async with rig(then_good(refused(**headers), stream)) as here:
        tokens, error, _, elapsed = await here.ask(stream=stream)
        assert error is None and tokens.attempts == 2
        assert 0.99 <= elapsed <= 1.0 + PATIENCE_S


@pytest.mark.parametrize("headers", IGNORED.values(), ids=IGNORED)
async def test_wait_that_can_not_be_read_is_none(headers, stream):
    async with rig(then_good(refused(**headers), stream)) as here:
        tokens, error, _, elapsed = await here.ask(stream=stream)
        assert error is None and tokens.attempts == 2
        assert elapsed < PATIENCE_S


@pytest.mark.parametrize(("headers", "seconds"), TOO_LONG.values(), ids=TOO_LONG)
async def test_wait_beyond_the_deadline_is_told_at_once(headers, seconds, stream):
    async with rig(*always([refused(**headers)])) as here:
        _, error, _, elapsed = await here.ask(stream=stream)
        assert (type(error), error.limited_by, error.status) == (RateLimited, "provider", 429)
        assert error.retry_after == pytest.approx(seconds)
        assert (error.attempts, here.requests) == (1, 1)
        assert elapsed < PATIENCE_S
        assert here.breaker.released == 1


async def test_wait_is_not_kept_when_the_policy_says_so(stream):
    policy = RetryPolicy(max_retries=RETRIES, initial_backoff_s=0.001, respect_retry_after=False)
    async with rig(then_good(refused(retry_after="5"), stream), retry=policy) as here:
        tokens, error, _, elapsed = await here.ask(stream=stream)
        assert error is None and tokens.attempts == 2 and elapsed < PATIENCE_S


async def test_refusals_never_open_the_circuit(stream):
    one = CircuitBreakerConfig(failure_threshold=1, minimum_calls=1)
    async with rig(*always([refused()]), circuit_breaker=one) as here:
        _, error, _, _ = await here.ask(stream=stream)
        assert (type(error), error.attempts, here.requests) == (RateLimited, 3, 3)
        assert here.breaker.state.name == "CLOSED"


async def test_provider_that_says_do_not_retry_is_believed(stream):
    async with rig(*always([refused(503, x_should_retry="false")])) as here:
        _, error, _, _ = await here.ask(stream=stream)
        assert (type(error), error.retryable, here.requests) == (ServerError, False, 1)


async def test_secret_in_a_refusal_is_masked(stream):
    key = "sk-test-matrix"
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}}).encode()
    bad = answer(body, 400, {"content-type": "application/json"})
    async with rig([Do.READ, bad]) as here:
        _, error, _, _ = await here.ask(stream=stream)
        assert "matrix" not in f"{error!r} {error} {error.body} {vars(error)}"
        assert "[redacted]" in str(error)


async def test_error_text_is_bounded_and_of_one_line(stream):
    body = json.dumps({"error": {"message": "no\r\n\x1b[31m<script>" + "x" * (1 << 20)}}).encode()
    async with rig([Do.READ, answer(body, 400, {"content-type": "application/json"})]) as here:
        _, error, _, _ = await here.ask(stream=stream)
        assert len(str(error)) < 400 and str(error).isprintable()
        assert len(error.body.encode()) <= 2048


async def test_endless_error_body_is_read_no_further_than_it_matters(stream):
    from spillway.testing.byte_server import Flood, chunk

    head = b"HTTP/1.1 503 X\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n"
    async with rig(*always([head, Flood(chunk(b"x" * 65536))])) as here:
        _, error, _, elapsed = await here.ask(stream=stream)
        assert (type(error), error.status, error.attempts) == (ServerError, 503, 1 + RETRIES)
        assert elapsed < 3 * PATIENCE_S
        await here.everybody_left()


async def test_error_body_that_stalls_ends_with_the_phase(stream):
    head = b"HTTP/1.1 503 X\r\ncontent-type: text/html\r\ncontent-length: 100\r\n\r\nabc"
    limits = spillway.Timeouts(unary_timeout_s=0.2, first_byte_timeout_s=0.2)
    async with rig(*always([head, Do.STALL]), timeouts=limits) as here:
        _, error, _, _ = await here.ask(stream=stream)
        assert type(error) is spillway.Timeout
        assert here.requests == (1 + RETRIES if stream else 1)


# The credential.

UNAUTHORIZED = answer(b'{"error": {"message": "who are you?"}}', 401, {"content-type": "application/json"})
FORBIDDEN = answer(b'{"error": {"message": "not for you"}}', 403, {"content-type": "application/json"})


def keyed(dialect, key):
    config = dialect.config("http://127.0.0.1:1/v1")
    return lambda url: msgspec.structs.replace(
        dialect.config(url), api_key=spillway.SecretRef(from_file=str(key))
    ) if config else None  # fmt: skip


def sent_keys(here):
    """The credential of each connection's first request."""
    names = (b"authorization: bearer ", b"x-api-key: ", b"x-goog-api-key: ")
    keys = []
    for conversation in here.server.conversations:
        for line in bytes(conversation.received).split(b"\r\n\r\n")[0].split(b"\r\n"):
            keys += [line[len(n) :].decode() for n in names if line.lower().startswith(n)]
    return keys


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda d: d.name)
async def test_rotated_key_is_read_again_and_the_request_goes_on(dialect, stream, tmp_path):
    key = tmp_path / "key"
    key.write_text("key-old\n")
    good = dialect.good(stream=stream)
    first = [Do.READ, good, Do.READ, UNAUTHORIZED, Do.STALL]
    wire = dialect._replace(config=keyed(dialect, key))
    async with rig(first, [Do.READ, good, Do.READ, good, Do.STALL], dialect=wire) as here:
        assert (await here.ask(stream=stream)).text == TEXT
        key.write_text("key-new\n")
        tokens, error, text, _ = await here.ask(stream=stream)
        assert (error, text, tokens.attempts) == (None, TEXT, 2)
        assert (here.requests, here.metrics.attempts, here.metrics.retried) == (3, 3, 0)
        assert sent_keys(here) == ["key-old", "key-new"]
        assert (here.breaker.failures, here.breaker.released, here.breaker.successes) == (0, 1, 2)
        assert [r.cost_pico == 0 for r in here.books.attempts] == [False, True, False]
        assert (await here.ask(stream=stream)).tokens.attempts == 1


async def test_key_that_stays_refused(tmp_path, stream=False):
    key = tmp_path / "key"
    key.write_text("key-old")
    wire = OPENAI._replace(config=keyed(OPENAI, key))
    later = [[Do.READ, OPENAI.good(stream=stream), Do.STALL]]
    async with rig([Do.READ, UNAUTHORIZED, Do.READ, UNAUTHORIZED, Do.STALL], *later, dialect=wire) as here:
        _, error, _, _ = await here.ask(stream=stream)
        assert (type(error), error.status, error.attempts) == (Unauthorized, 401, 1)
        assert not here.cluster.deployment("m").healthy()

        _, error, _, elapsed = await here.ask(stream=stream)
        assert (type(error), error.attempts, here.requests) == (Unauthorized, 0, 1)
        assert str(key) not in str(error) or "key-old" not in str(error)
        assert elapsed < PATIENCE_S
        assert here.breaker.failures == 0

        key.write_text("key-new")
        await asyncio.sleep(1.05)
        tokens, error, text, _ = await here.ask(stream=stream)
        assert (error, text, tokens.attempts) == (None, TEXT, 1)
        assert sent_keys(here) == ["key-old", "key-new"]
        assert here.cluster.deployment("m").healthy()


async def test_new_key_that_is_refused_too_is_tried_once(stream, tmp_path):
    key = tmp_path / "key"
    key.write_text("key-old")
    wire = OPENAI._replace(config=keyed(OPENAI, key))
    scripts = [
        [Do.READ, OPENAI.good(stream=stream), Do.READ, UNAUTHORIZED, Do.STALL],
        [Do.READ, UNAUTHORIZED, Do.STALL],
    ]
    async with rig(*scripts, dialect=wire) as here:
        await here.ask(stream=stream)
        key.write_text("key-new")
        _, error, _, _ = await here.ask(stream=stream)
        assert (type(error), error.attempts, here.requests) == (Unauthorized, 2, 3)
        assert sent_keys(here) == ["key-old", "key-new"]


async def test_forbidden_is_no_reason_for_another_key(stream, tmp_path):
    key = tmp_path / "key"
    key.write_text("key-old")
    wire = OPENAI._replace(config=keyed(OPENAI, key))
    async with rig([Do.READ, FORBIDDEN, Do.READ, OPENAI.good(stream=stream), Do.STALL], dialect=wire) as here:
        key.write_text("key-old")
        _, error, _, _ = await here.ask(stream=stream)
        assert (type(error), error.status, error.attempts, here.requests) == (Forbidden, 403, 1, 1)
        assert here.breaker.released == 1
        assert (await here.ask(stream=stream)).text == TEXT


async def test_many_refused_at_once_share_one_rebuild(tmp_path, stream):
    key = tmp_path / "key"
    key.write_text("key-old")
    wire = OPENAI._replace(config=keyed(OPENAI, key))
    good = OPENAI.good(stream=stream)
    all_there = asyncio.Event()
    first = [Do.READ, all_there, UNAUTHORIZED, Do.STALL]
    async with rig(*[first] * 20, [Do.READ, good, Do.STALL], dialect=wire) as here:
        tasks = [here.task(stream=stream) for _ in range(20)]
        await here.server.conversation(19)
        key.write_text("key-new")
        all_there.set()
        outcomes = await asyncio.gather(*tasks)
        assert [(o.error, o.text, o.tokens.attempts) for o in outcomes] == [(None, TEXT, 2)] * 20
        assert sent_keys(here)[:20] == ["key-old"] * 20
        assert set(sent_keys(here)[20:]) == {"key-new"}
        assert here.requests == 40
