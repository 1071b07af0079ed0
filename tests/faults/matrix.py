"""A Cluster before a server that misbehaves byte by byte, and what must hold whatever happened between them."""

import asyncio
import gc
import importlib
import json
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import spillway
from spillway.core.reply import Usage
from spillway.testing.byte_server import ByteServer, Conversation, Do, Step, answer, chunk

# What a first request loads takes longer than the times that are measured here.
importlib.import_module("spillway.remote.http.aiohttp_client")

PROMPT = "Say hello"
MAX_TOKENS = 100
RETRIES = 2
PATIENCE_S = 3.0
"""What a busy machine may add to a time that is promised."""

PRICE = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)
INPUT_PICO, OUTPUT_PICO = 1_000_000, 2_000_000
BOUND = 16 + len(PROMPT)
"""Input tokens at most: the prompt's bytes and 16 for its message."""

INPUT_GUESS = -(-BOUND // 4)
RESERVED_PICO = BOUND * INPUT_PICO + MAX_TOKENS * OUTPUT_PICO
TEXT = "hello world"
USAGE = Usage(input_tokens=7, output_tokens=3)
GOOD_PICO = 7 * INPUT_PICO + 3 * OUTPUT_PICO

KEY = spillway.Secret("sk-test-matrix")


def sse(*events: Any) -> bytes:
    """Return events as a stream's bytes; what is not bytes is written as JSON, a pair has a name."""
    out = b""
    for event in events:
        if isinstance(event, tuple):
            out += b"event: %s\n" % event[0].encode()
            event = event[1]
        out += b"data: %s\n\n" % (event if isinstance(event, bytes) else json.dumps(event).encode())
    return out


def head(*, stream: bool, more: str = "", chunks: bool = True) -> bytes:
    """Return the head of a 200 whose body is of the right type."""
    kind = "text/event-stream" if stream else "application/json"
    framing = "transfer-encoding: chunked\r\n" if chunks else ""
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{framing}{more}\r\n".encode()


class Dialect(NamedTuple):
    """A provider's wire: how it is configured, a good answer, and the pieces of a good stream."""

    name: str
    model: str
    config: Callable[[str], Any]
    whole: bytes
    before: bytes
    content: bytes
    rest: bytes

    def good(self, *, stream: bool) -> bytes:
        """Return a whole good answer on the wire."""
        if stream:
            return answer(self.before + self.content + self.rest, headers={"content-type": "text/event-stream"})
        return answer(self.whole, headers={"content-type": "application/json"})

    def begun(self, *, stream: bool) -> bytes:
        """Return a chunked answer that has begun and carries no content yet."""
        if stream:
            return head(stream=True) + chunk(self.before or b": hi\n\n")
        return head(stream=False) + chunk(self.whole[:20])


def _delta(text=None, finish=None, **more):
    delta = {"role": "assistant"} if text is None and finish is None else {} if text is None else {"content": text}
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def _openai_whole() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return json.dumps({"id": "c1", "choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}).encode()


OPENAI = Dialect(
    "openai",
    "gpt-4o-mini",
    lambda url: spillway.OpenAiConfig(endpoint=url, api_key=KEY),
    _openai_whole(),
    sse(_delta()),
    sse(_delta("hello")),
    sse(
        _delta(" world"),
        _delta(finish="stop"),
        {"id": "c1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
        b"[DONE]",
    ),
)


def _said(kind, **fields):
    return (kind, {"type": kind, **fields})


ANTHROPIC = Dialect(
    "anthropic",
    "claude-haiku-4-5",
    lambda url: spillway.AnthropicConfig(endpoint=url.removesuffix("/v1"), api_key=KEY),
    json.dumps(
        {
            "id": "m1", "type": "message", "role": "assistant", "content": [{"type": "text", "text": TEXT}],
            "stop_reason": "end_turn", "usage": {"input_tokens": 7, "output_tokens": 3},
        }
    ).encode(),
    sse(
        _said("message_start", message={"id": "m1", "usage": {"input_tokens": 7, "output_tokens": 1}}),
        _said("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _said("ping"),
    ),
    sse(_said("content_block_delta", index=0, delta={"type": "text_delta", "text": "hello"})),
    sse(
        _said("content_block_delta", index=0, delta={"type": "text_delta", "text": " world"}),
        _said("content_block_stop", index=0),
        _said("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
        _said("message_stop"),
    ),
)  # fmt: skip


def _candidate(text, **more):
    return {"responseId": "g1", "candidates": [{"content": {"parts": [{"text": text}]}, **more}]}


_GEMINI_END = {
    **_candidate(" world", finishReason="STOP"),
    "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 3},
}

GEMINI = Dialect(
    "gemini",
    "gemini-2.5-flash",
    lambda url: spillway.GeminiConfig(endpoint=url.removesuffix("/v1"), api_key=KEY),
    json.dumps({**_GEMINI_END, **_candidate(TEXT, finishReason="STOP")}).encode(),
    b"",
    sse(_candidate("hello")),
    sse(_GEMINI_END),
)

DIALECTS = {d.name: d for d in (OPENAI, ANTHROPIC, GEMINI)}


class Books:
    """An observer that keeps everything it is told."""

    def __init__(self):
        self.attempts, self.requests, self.then = [], [], None

    def on_attempt(self, record):
        self.attempts.append(record)
        if self.then is not None:
            then, self.then = self.then, None
            then()

    def on_request(self, record):
        self.requests.append(record)


class Outcome(NamedTuple):
    """What a caller got: an answer or an error, the text it read, and how long that took."""

    tokens: Any
    error: Any
    text: str
    elapsed_s: float


class Rig:
    """One deployment `m` of a Cluster, the server it leads to, and the books of both."""

    def __init__(self, cluster, server, books):
        self.cluster, self.server, self.books = cluster, server, books
        self.outcomes: list[Outcome] = []
        self.cancelled = 0

    @property
    def requests(self) -> int:
        """Whole requests that the server has received."""
        return sum(len(c.requests) for c in self.server.conversations)

    @property
    def breaker(self):
        return self.cluster.deployment("m").circuit_breaker().snapshot()

    @property
    def metrics(self):
        return self.cluster.metrics().per_deployment["m"]

    def note(self, error=None) -> None:
        """Count a request that was not asked for through `ask`."""
        self.outcomes.append(Outcome(None, error, "", 0.0))

    def task(self, *, stream: bool, **options):
        return asyncio.ensure_future(self.ask(stream=stream, **options))

    async def ask(self, *, stream: bool, timeout_s: float = 10.0, prompt: Any = PROMPT, **options) -> Outcome:
        """Ask once and keep to the end; never longer than the deadline."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        tokens = error = None
        text = ""
        options.setdefault("max_tokens", MAX_TOKENS)
        try:
            if stream:
                reading = self.cluster.stream("m", prompt, timeout_s=timeout_s, **options)
                async for piece in reading:
                    text += piece.text_delta
                tokens = reading.tokens
                assert tokens.text == text
            else:
                tokens = await self.cluster.generate("m", prompt, timeout_s=timeout_s, **options)
                text = tokens.text
        except spillway.InferenceError as caught:
            error = caught
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        outcome = Outcome(tokens, error, text, loop.time() - began)
        assert outcome.elapsed_s <= timeout_s + PATIENCE_S, outcome
        if isinstance(error, spillway.StreamInterrupted):
            assert error.partial.text == text
            assert error.__cause__ is not None
        elif error is not None:
            assert text == ""
        self.outcomes.append(outcome)
        return outcome

    def holds_nothing(self) -> None:
        """Nothing is in flight, queued, waiting or reserved, and all books tell the same story."""
        deployed, metrics, breaker = self.cluster.deployment("m"), self.metrics, self.breaker
        limits = deployed.rate_limiter().snapshot()
        ledger = deployed.budget().snapshot()
        assert (metrics.busy, metrics.queued) == (0, 0)
        assert not any(slot.busy for slot in deployed.workers())
        assert (limits.in_flight, limits.waiting, limits.requests.unsent, limits.tokens.unsent) == (0, 0, 0, 0)
        assert (ledger.open, ledger.reserved_pico) == (0, 0)
        assert breaker.probes == 0

        attempts, requests = self.books.attempts, self.books.requests
        broken = sum(isinstance(o.error, spillway.StreamInterrupted) for o in self.outcomes)
        counted_later = max(
            0, breaker.successes + breaker.failures + breaker.released + breaker.late - breaker.admitted
        )
        assert counted_later <= broken, breaker
        assert metrics.attempts == len(attempts)
        # A turn that came in the instant of a cancellation is given back: let through, never sent.
        assert breaker.admitted == len(attempts) or (self.cancelled and breaker.admitted > len(attempts))
        assert limits.requests.used <= len(attempts)

        ended = len(self.outcomes) + self.cancelled
        assert ended == len(requests) == metrics.requests == metrics.succeeded + metrics.failed + metrics.cancelled
        assert metrics.succeeded == sum(o.error is None for o in self.outcomes)
        rows = [record for record in attempts if record.usage is not None]
        assert metrics.usage_rows == len(rows)
        cost = sum(record.cost_pico for record in attempts)
        assert round(metrics.cost_usd * 1e12) == cost
        assert ledger.spent_pico == cost
        assert ledger.overruns == 0
        assert metrics.input_tokens == sum(record.usage.input_tokens for record in rows)

    async def everybody_left(self, within_s: float = 0.1) -> None:
        """The server sees the end of each of its connections; one that was deaf to the last hears that now."""
        for conversation in self.server.conversations:
            if not conversation.transport.is_closing():
                conversation.transport.resume_reading()
        async with asyncio.timeout(within_s + PATIENCE_S):
            await asyncio.gather(*(c.gone.wait() for c in self.server.conversations))


@asynccontextmanager
async def rig(
    *scripts: Sequence[Step],
    dialect: Dialect = OPENAI,
    url: str | None = None,
    tls: Any = None,
    timeouts: spillway.Timeouts | None = None,
    config: Any = None,
    environ: Any = None,
    **options: Any,
):
    """Serve `scripts` to a Cluster with everything that can be left behind switched on; check that nothing was."""
    options.setdefault("retry", spillway.RetryPolicy(max_retries=RETRIES, initial_backoff_s=0.001))
    options.setdefault("circuit_breaker", spillway.CircuitBreakerConfig(failure_threshold=10**6, minimum_calls=10**6))
    options.setdefault("serving", spillway.Serving(max_concurrent=32))
    books = Books()
    async with ByteServer(*scripts, tls=tls) as server:
        deployment = spillway.Deployment(
            name="m",
            model=dialect.model,
            runtime_config=config or dialect.config(url or server.url),
            timeouts=timeouts or spillway.Timeouts(connect_timeout_s=5.0),
            rate_limits=spillway.RateLimits(
                requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000, concurrent_requests=1000
            ),
            budget=spillway.Budget(max_spend_per_day_usd=1e6),
            pricing=PRICE,
            **options,
        )
        door = spillway.Cluster([deployment], environ=environ or {}, observers=[books])
        built = Rig(door, server, books)
        try:
            async with asyncio.timeout(30):
                yield built
            await asyncio.sleep(0)
            built.holds_nothing()
        finally:
            await door.aclose()
        await built.everybody_left()
    # An exception's traceback is a cycle; what it holds must not reach into the next test's count of sockets.
    gc.collect(0)


def fault_then_good(steps: Sequence[Step], good: bytes) -> list[list[Step]]:
    """Return scripts for a server whose first answer is a fault, on whatever connection the second is asked for."""
    return [[Do.READ, *steps, Do.READ, good, Do.STALL], [Do.READ, good, Do.STALL]]


def always(steps: Sequence[Step]) -> list[list[Step]]:
    """Return the script of a server whose every answer is that fault."""
    return [[Do.READ, *steps] * (RETRIES + 2)]


async def gone(conversation: Conversation, within_s: float = 0.1) -> float:
    """Return how long after now the server saw the client leave; at most `within_s`, or it fails."""
    began = asyncio.get_running_loop().time()
    assert await conversation.gone_within(within_s + PATIENCE_S)
    return max(0.0, conversation.gone_at - began)


def check_unsent(here, error, kind, reason, *, retryable=True, counted=True, attempts=1 + RETRIES):
    """It failed before anything was sent: nothing is paid, the provider's limits are given back."""
    assert (type(error), error.reason, error.retryable) == (kind, reason, retryable), repr(error)
    assert error.counts_as_circuit_failure is counted
    assert (error.sent, error.attempts, len(here.books.attempts)) == (False, attempts, attempts)
    assert {(r.usage, r.cost_pico, r.estimated) for r in here.books.attempts} == {(None, 0, False)}
    assert here.cluster.deployment("m").rate_limiter().snapshot().requests.used == 0
    breaker = here.breaker
    assert (breaker.failures, breaker.released) == ((attempts, 0) if counted else (0, attempts))
