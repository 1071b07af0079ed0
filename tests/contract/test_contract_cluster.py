"""The facade with a runner that has what is asked of one, and nothing more."""

import asyncio
import gc
import subprocess
import sys

import pytest

import spillway

PRICING = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=2.0)


class Handle:
    """An answer on its way: an async iterator of lists of chunks with `aclose`."""

    def __init__(self, runner, reads):
        self.runner = runner
        self.reads = iter(reads)
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        try:
            step = next(self.reads)
        except StopIteration:
            raise StopAsyncIteration from None
        if isinstance(step, BaseException):
            raise step
        if step is None:
            await asyncio.Event().wait()
        return step

    async def aclose(self):
        if not self.closed:
            self.closed = True
            self.runner.closed += 1


def said(*texts):
    """Reads that say so and end in order."""
    end = spillway.TokenChunk(
        finish_reason=spillway.FinishReason.STOP, usage=spillway.Usage(input_tokens=10, output_tokens=5)
    )
    return [*([spillway.TokenChunk(text_delta=text)] for text in texts), [end]]


class Runner:
    """What a third party writes with nothing but the written contract at hand."""

    runtime_kind = "mine"
    transport_kind = "memory"
    rate_limits = None

    def __init__(self, *script):
        self.script = list(script)
        self.batches = []
        self.rebuilt = []
        self.closed = 0

    async def execute(self, batch):
        self.batches.append(batch)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, BaseException):
            raise step
        return Handle(self, step)

    async def rebuild_session(self, cause):
        self.rebuilt.append(cause)


def cluster(*script, more=(), runners=None, **options):
    options = {"name": "m", "pricing": PRICING, "retry": spillway.RetryPolicy(initial_backoff_s=0.001), **options}
    runner = Runner(*(script or (said("Hello", " world"),)))
    made = spillway.Cluster(
        [spillway.Deployment(**options), *more], runners={"m": lambda _deployment: runner, **(runners or {})}
    )
    return made, runner


async def test_an_answer_has_everything_it_is_said_to_have():
    made, runner = cluster()
    async with made as entered:
        assert entered is made
        tokens = await made.generate("m", "Say hello")
        assert isinstance(tokens, spillway.Tokens)
        assert tokens.text == "Hello world"
        assert not tokens.tool_calls
        assert not tokens.reasoning
        assert (tokens.usage.input_tokens, tokens.usage.output_tokens) == (10, 5)
        assert (tokens.usage.cached_tokens, tokens.usage.cache_write_tokens, tokens.usage.reasoning_tokens) == (0, 0, 0)
        assert tokens.finish_reason is spillway.FinishReason.STOP
        assert tokens.finish_reason == "stop"
        assert tokens.cost_usd == pytest.approx(20e-6)
        assert tokens.deployment == "m"
        assert tokens.attempts == 1
        assert isinstance(tokens.request_id, str)
        assert tokens.request_id
        metrics = made.metrics().per_deployment["m"]
        assert metrics.cost_usd == pytest.approx(20e-6)
    (batch,) = runner.batches
    assert batch.stream is False
    assert batch.attempt == 0
    assert batch.deadline > asyncio.get_running_loop().time() - 1
    assert runner.closed == 1


async def test_the_reasons_an_answer_ends_for():
    assert [str(reason) for reason in spillway.FinishReason] == ["stop", "length", "tool_calls", "content_filter"]


async def test_a_runner_is_handed_every_keyword_as_it_was_given():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    keywords = {
        "max_tokens": 50, "temperature": 0.5, "top_p": 0.9, "stop": ["x"], "seed": 3, "tools": [tool],
        "tool_choice": "auto", "response_format": {"type": "json_object"}, "reasoning_effort": "low",
        "extra": {"user": "me"}, "priority": spillway.Priority.HIGH, "timeout_s": 30.0, "max_cost_usd": 1.0,
        "fallback": False, "extra_headers": {"x-a": "b"},
    }  # fmt: skip
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
    made, runner = cluster()
    async with made:
        await made.generate("m", messages, **keywords)
        async for _ in made.stream("m", tuple(messages), **keywords):
            pass
        await made.generate("m", "hi")
    for batch, streamed in zip(runner.batches, (False, True), strict=False):
        assert batch.stream is streamed
        assert list(batch.request.messages) == messages
        for keyword, value in keywords.items():
            assert getattr(batch.request, keyword) == value, keyword
    plain = runner.batches[2].request
    assert list(plain.messages) == [{"role": "user", "content": "hi"}]
    assert (plain.max_tokens, plain.tools, plain.priority, plain.fallback) == (
        None,
        None,
        spillway.Priority.NORMAL,
        True,
    )


def test_a_batch_takes_its_four_values_by_position():
    batch = spillway.ExecuteBatch("request", 12.5, 1, True)
    assert (batch.request, batch.deadline, batch.attempt, batch.stream) == ("request", 12.5, 1, True)
    assert spillway.ExecuteBatch(request="request", deadline=12.5, attempt=1, stream=True) == batch


class Iterable:
    """An answer that makes its reads when it is asked for them."""

    async def __aiter__(self):
        for read in said("a", "b"):
            yield read

    async def aclose(self):
        pass


async def reads():
    for read in said("a", "b"):
        yield read


@pytest.mark.parametrize("answer", [reads, Iterable])
async def test_a_handle_may_be_an_async_generator_or_make_one(answer):
    class Generating(Runner):
        async def execute(self, batch):
            return answer()

    runner = Generating()
    made = spillway.Cluster([spillway.Deployment(name="m", pricing=PRICING)], runners={"m": lambda _: runner})
    async with made:
        assert (await made.generate("m", "x")).text == "ab"
        assert [chunk.text_delta async for chunk in made.stream("m", "x")] == ["a", "b", ""]


async def test_the_parts_of_a_chunk():
    chunk = spillway.TokenChunk(text_delta="x")
    assert (chunk.text_delta, chunk.tool_call_delta, chunk.usage, chunk.finish_reason) == ("x", None, None, None)
    assert not chunk.reasoning_delta
    assert spillway.TokenChunk().text_delta == ""


async def test_tool_calls_and_reasoning_come_together():
    delta = spillway.ToolCallDelta
    reads = [
        [spillway.TokenChunk(reasoning_delta="hm")],
        [spillway.TokenChunk(tool_call_delta=delta(index=0, id="c1", name="f", arguments='{"a":'))],
        [spillway.TokenChunk(tool_call_delta=delta(index=0, arguments="1}"))],
        [spillway.TokenChunk(tool_call_delta=delta(index=1, id="c2", name="g", arguments="{}"))],
        [spillway.TokenChunk(finish_reason=spillway.FinishReason.TOOL_CALLS)],
    ]
    made, _ = cluster(reads)
    async with made:
        tokens = await made.generate("m", "x")
        assert tokens.reasoning == "hm"
        assert [(c.id, c.name, c.arguments) for c in tokens.tool_calls] == [("c1", "f", '{"a":1}'), ("c2", "g", "{}")]
        assert tokens.finish_reason == "tool_calls"


async def test_a_stream_is_an_iterator_and_a_context():
    made, runner = cluster()
    async with made:
        stream = made.stream("m", "x", priority=spillway.Priority.HIGH)
        assert isinstance(stream, spillway.TokenStream)
        assert [chunk.text_delta async for chunk in stream] == ["Hello", " world", ""]
        async with made.stream("m", "x") as stream:
            first = await anext(stream)
            assert first.text_delta == "Hello"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()
        await stream.aclose()
    assert runner.closed == 2


@pytest.mark.parametrize("way", ["aclose", "context", "cancel", "drop"])
async def test_a_stream_closed_early_is_closed_upstream_at_once(way):
    endless = [[spillway.TokenChunk(text_delta="a")], None]
    made, runner = cluster(endless)
    async with made:
        if way == "aclose":
            stream = made.stream("m", "x")
            await anext(stream)
            await stream.aclose()
        elif way == "context":
            with pytest.raises(RuntimeError):
                async with made.stream("m", "x") as stream:
                    await anext(stream)
                    raise RuntimeError
        elif way == "cancel":

            async def read():
                async for _ in made.stream("m", "x"):
                    pass

            task = asyncio.create_task(read())
            while not runner.batches:
                await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            stream = made.stream("m", "x")
            await anext(stream)
            del stream
            gc.collect()
        await asyncio.sleep(0.05)
        assert runner.closed == 1
        assert all(not slot.busy for slot in made.deployment("m").workers())


async def test_trouble_before_the_first_content_is_repeated_and_after_it_is_told():
    made, runner = cluster(spillway.ServerError("down", status=503), [spillway.NetworkError("reset")], said("fine"))
    async with made:
        tokens = await made.generate("m", "x")
        assert (tokens.text, tokens.attempts) == ("fine", 3)
        assert [batch.attempt for batch in runner.batches] == [0, 1, 2]
    broken = [[spillway.TokenChunk(text_delta="half")], spillway.NetworkError("reset")]
    made, runner = cluster(broken)
    async with made:
        seen = []
        with pytest.raises(spillway.StreamInterrupted) as caught:
            async for chunk in made.stream("m", "x"):
                seen.append(chunk.text_delta)
        assert seen == ["half"]
        assert isinstance(caught.value.partial, spillway.Tokens)
        assert caught.value.partial.text == "half"
        assert caught.value.deployment == "m"
        assert caught.value.attempts == 1
        assert len(runner.batches) == 1


async def test_an_end_without_the_providers_own_is_an_interruption():
    made, _ = cluster([[spillway.TokenChunk(text_delta="half")], spillway.StreamInterrupted("cut")])
    async with made:
        with pytest.raises(spillway.StreamInterrupted):
            async for _ in made.stream("m", "x"):
                pass


async def test_what_is_final_is_raised_as_it_is_and_says_where():
    made, runner = cluster(spillway.ContentFiltered("no", status=400))
    async with made:
        with pytest.raises(spillway.ContentFiltered) as caught:
            await made.generate("m", "x")
        assert (caught.value.deployment, caught.value.attempts) == ("m", 1)
        assert len(runner.batches) == 1


async def test_retries_are_spent_and_the_last_error_is_raised():
    made, runner = cluster(spillway.ServerError("down", status=500))
    async with made:
        with pytest.raises(spillway.ServerError) as caught:
            await made.generate("m", "x")
        assert caught.value.attempts == 4
        assert len(runner.batches) == 4


async def test_what_is_not_idempotent_is_sent_once():
    made, runner = cluster(spillway.ServerError("down", status=500), idempotent=False)
    async with made:
        with pytest.raises(spillway.ServerError):
            await made.generate("m", "x")
        assert len(runner.batches) == 1


async def test_a_refused_credential_is_read_again_once():
    made, runner = cluster(spillway.Unauthorized("no", status=401), said("fine"))
    async with made:
        tokens = await made.generate("m", "x")
        assert tokens.text == "fine"
        assert len(runner.rebuilt) == 1
        await made.deployment("m").rebuild_session()
        assert len(runner.rebuilt) == 2


async def test_fallback_answers_unless_it_is_switched_off():
    spare = Runner(said("spare"))
    made, runner = cluster(
        spillway.ServerError("down", status=500),
        fallback=["n"],
        retry=spillway.RetryPolicy(max_retries=0),
        more=[spillway.Deployment(name="n", pricing=PRICING)],
        runners={"n": lambda _: spare},
    )
    async with made:
        tokens = await made.generate("m", "x")
        assert (tokens.text, tokens.deployment, tokens.attempts) == ("spare", "n", 2)
        with pytest.raises(spillway.ServerError):
            await made.generate("m", "x", fallback=False)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("kind", ["ContentFiltered", "BadRequest", "ContextLengthExceeded"])
async def test_a_prompt_that_was_refused_goes_elsewhere_only_if_that_is_listed(kind, listed):
    spare = Runner(said("spare"))
    error = getattr(spillway, kind)("no")
    made, _ = cluster(
        error,
        fallback=("n",),
        fallback_on=[error.code] if listed else [],
        more=[spillway.Deployment(name="n", pricing=PRICING)],
        runners={"n": lambda _: spare},
    )
    async with made:
        if listed:
            assert (await made.generate("m", "x")).deployment == "n"
        else:
            with pytest.raises(getattr(spillway, kind)):
                await made.generate("m", "x")


async def test_a_group_is_asked_by_its_name():
    other = Runner(said("other"))
    made, runner = cluster(
        group="g",
        more=[spillway.Deployment(name="n", group="g", weight=1, pricing=PRICING)],
        runners={"n": lambda _: other},
    )
    async with made:
        answered = [(await made.generate("g", "x")).deployment for _ in range(10)]
    assert answered.count("m") == answered.count("n") == 5


async def test_an_unknown_name_is_model_not_found():
    made, _ = cluster()
    async with made:
        with pytest.raises(spillway.ModelNotFound):
            await made.generate("nobody", "x")
        with pytest.raises(spillway.ModelNotFound):
            made.deployment("nobody")
        with pytest.raises(spillway.ModelNotFound):
            async for _ in made.stream("nobody", "x"):
                pass


@pytest.mark.parametrize("prompt", [None, 5, [], [5], [{"content": "no role"}], {"role": "user", "content": "x"}])
async def test_a_prompt_that_is_none_is_a_bad_request(prompt):
    made, runner = cluster()
    async with made:
        with pytest.raises(spillway.BadRequest):
            await made.generate("m", prompt)
        with pytest.raises(spillway.BadRequest):
            async for _ in made.stream("m", prompt):
                pass
    assert runner.batches == []


async def test_an_unknown_keyword_is_a_type_error():
    made, _ = cluster()
    async with made:
        with pytest.raises(TypeError):
            await made.generate("m", "x", temprature=1)
        with pytest.raises(TypeError):
            made.stream("m", "x", temprature=1)


@pytest.mark.parametrize(
    "wrong",
    [{"timeout_s": 0}, {"timeout_s": "5"}, {"max_tokens": -1}, {"max_tokens": "5"}, {"max_cost_usd": -1},
     {"max_cost_usd": "1"}, {"priority": "urgent"}, {"priority": 9}],
)  # fmt: skip
async def test_a_keyword_with_a_value_that_is_none_is_a_bad_request(wrong):
    made, runner = cluster()
    async with made:
        with pytest.raises(spillway.BadRequest):
            await made.generate("m", "x", **wrong)
    assert runner.batches == []


@pytest.mark.parametrize("priority", [2, "high", "HIGH", spillway.Priority.HIGH])
async def test_a_priority_may_be_named_in_any_form(priority):
    made, _ = cluster()
    async with made:
        assert (await made.generate("m", "x", priority=priority)).text == "Hello world"


async def test_the_deadline_is_for_everything():
    made, runner = cluster([None])
    async with made:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(spillway.Timeout):
            await made.generate("m", "x", timeout_s=0.05)
        assert loop.time() - began < 0.5
        await asyncio.sleep(0)
        assert runner.closed == 1


async def test_a_cancelled_caller_gets_the_cancellation():
    made, runner = cluster([None])
    async with made:
        task = asyncio.create_task(made.generate("m", "x"))
        while not runner.batches:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert runner.closed == 1


async def test_a_cost_above_what_is_allowed_is_not_spent():
    made, runner = cluster()
    async with made:
        with pytest.raises(spillway.BudgetExceeded):
            await made.generate("m", "x", max_tokens=1000, max_cost_usd=0.0001)
        await made.generate("m", "x", max_tokens=1000, max_cost_usd=0.1)
    assert len(runner.batches) == 1


async def test_map_yields_each_item_with_its_answer_or_error():
    class Picky(Runner):
        async def execute(self, batch):
            text = batch.request.messages[0]["content"]
            if text == "2":
                raise spillway.ContentFiltered("no")
            return Handle(self, said(text))

    runner = Picky(())
    made = spillway.Cluster([spillway.Deployment(name="m", pricing=PRICING)], runners={"m": lambda _: runner})

    async def prompts():
        for n in range(5):
            yield str(n)

    async with made:
        for items in ([str(n) for n in range(5)], (str(n) for n in range(5)), prompts()):
            found = {item: result async for item, result in made.map("m", items)}
            assert found.keys() == set("01234")
            assert isinstance(found.pop("2"), spillway.ContentFiltered)
            assert {item: result.text for item, result in found.items()} == {n: n for n in "0134"}


async def test_map_reads_no_further_ahead_than_it_may():
    gate = asyncio.Event()

    class Waiting(Runner):
        async def execute(self, batch):
            await gate.wait()
            return Handle(self, said("x"))

    runner = Waiting(())
    serving = spillway.Serving(max_concurrent=2, queue_capacity=3)
    made = spillway.Cluster(
        [spillway.Deployment(name="m", pricing=PRICING, serving=serving)], runners={"m": lambda _: runner}
    )
    read = []

    def prompts():
        for n in range(50):
            read.append(n)
            yield str(n)

    async with made:
        answers = made.map("m", prompts())
        first = asyncio.ensure_future(anext(answers))
        await asyncio.sleep(0.02)
        assert len(read) <= 5
        gate.set()
        await first
        assert len([1 async for _ in answers]) == 49


async def test_a_deployment_shows_its_parts():
    made, _ = cluster(
        rate_limits=spillway.RateLimits(requests_per_minute=100), serving=spillway.Serving(max_concurrent=3)
    )
    async with made:
        dep = made.deployment("m")
        assert len(dep.workers()) == 3
        assert dep.rate_limiter().snapshot() is not None
        estimate = dep.estimate_cost([{"role": "user", "content": "hello"}], max_tokens=500)
        assert isinstance(estimate, spillway.CostEstimate)
        assert estimate.cost_usd >= 500 * 2e-6
        assert dep.estimate_cost("hello", max_tokens=500).cost_usd <= estimate.cost_usd
        dep.circuit_breaker().force_open(300.0)
        with pytest.raises(spillway.CircuitOpen):
            await made.generate("m", "x")
        dep.circuit_breaker().reset()
        assert (await made.generate("m", "x")).text == "Hello world"


async def test_a_cluster_starts_on_first_use():
    made, _ = cluster()
    try:
        assert (await made.generate("m", "x")).text == "Hello world"
    finally:
        await made.aclose()
    await made.aclose()
    with pytest.raises(spillway.InferenceError):
        await made.generate("m", "x")


def test_metrics_are_there_before_anything_was_asked():
    made, _ = cluster()
    assert made.metrics().per_deployment["m"].cost_usd in {0.0, None}


def test_scripts_ask_without_a_loop():
    made, _ = cluster()
    assert made.generate_sync("m", "x", max_tokens=5).text == "Hello world"
    found = dict(made.map_sync("m", ["a", "b"]))
    assert {item: result.text for item, result in found.items()} == {"a": "Hello world", "b": "Hello world"}
    with pytest.raises(spillway.ModelNotFound):
        made.generate_sync("nobody", "x")
    made.close()


async def test_scripts_may_ask_from_inside_a_running_loop_as_notebooks_do():
    made, _ = cluster()
    assert made.generate_sync("m", "x").text == "Hello world"
    made.close()


SCRIPT = """
import spillway
class Runner:
    runtime_kind, transport_kind, rate_limits = "mine", "memory", None
    async def execute(self, batch):
        async def reads():
            yield [spillway.TokenChunk(text_delta="hi", finish_reason=spillway.FinishReason.STOP)]
        return reads()
    async def rebuild_session(self, cause): pass
cluster = spillway.Cluster([spillway.Deployment(name="m", pricing=spillway.Pricing(input_per_mtok_usd=1, output_per_mtok_usd=1))], runners={"m": lambda d: Runner()})
print(cluster.generate_sync("m", "x").text)
print([result.text for item, result in cluster.map_sync("m", ["a"])])
"""


def test_a_script_that_closes_nothing_ends_quietly():
    done = subprocess.run([sys.executable, "-X", "dev", "-c", SCRIPT], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n['hi']\n", "")


async def test_backpressure_is_as_configured():
    gate = asyncio.Event()

    class Waiting(Runner):
        async def execute(self, batch):
            await gate.wait()
            return Handle(self, said("x"))

    runner = Waiting(())
    serving = spillway.Serving(max_concurrent=1, queue_capacity=1, on_capacity_exhausted="reject")
    made = spillway.Cluster(
        [spillway.Deployment(name="m", pricing=PRICING, serving=serving)], runners={"m": lambda _: runner}
    )
    async with made:
        tasks = [asyncio.create_task(made.generate("m", "x")) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(spillway.Backpressure) as caught:
            await made.generate("m", "x")
        assert caught.value.limited_by == "queue"
        gate.set()
        await asyncio.gather(*tasks)


async def test_a_budget_refuses_before_it_is_overspent():
    made, runner = cluster(budget=spillway.Budget(max_spend_per_day_usd=0.00005))
    async with made:
        await made.generate("m", "x", max_tokens=5)
        with pytest.raises(spillway.BudgetExceeded):
            for _ in range(10):
                await made.generate("m", "x", max_tokens=5)
        assert len(runner.batches) <= 2


async def test_a_runner_that_breaks_its_promise_ends_in_an_inference_error():
    made, _ = cluster(RuntimeError("bug"))
    async with made:
        with pytest.raises(spillway.InferenceError):
            await made.generate("m", "x")


async def test_what_an_error_knows_of_where_it_came_from():
    slow = spillway.Serving(queue_timeout_s=0.05)
    made, _ = cluster(rate_limits=spillway.RateLimits(requests_per_minute=1), serving=slow)
    async with made:
        await made.generate("m", "x")
        with pytest.raises(spillway.RateLimited) as limited:
            await made.generate("m", "x")
    assert (limited.value.limited_by, limited.value.attempts) == ("deployment", 0)
    assert 0 < limited.value.retry_after <= 61
    made, _ = cluster(
        spillway.ServerError("down", status=503),
        circuit_breaker=spillway.CircuitBreakerConfig(failure_threshold=1),
        retry=spillway.RetryPolicy(max_retries=0),
    )
    async with made:
        with pytest.raises(spillway.ServerError) as failed:
            await made.generate("m", "x")
        with pytest.raises(spillway.CircuitOpen) as opened:
            await made.generate("m", "x")
    assert (failed.value.provider, failed.value.status, failed.value.deployment) == ("mine", 503, "m")
    assert failed.value.elapsed_s >= 0
    assert (opened.value.limited_by, opened.value.attempts) == ("breaker", 0)
    assert 0 < opened.value.retry_after <= 30
    assert opened.value.retry_at - opened.value.opened_at == pytest.approx(30.0)
    made, _ = cluster(rate_limits=spillway.RateLimits(tokens_per_minute=50))
    async with made:
        with pytest.raises(spillway.BadRequest):
            await made.generate("m", "x", max_tokens=100)


async def test_the_price_of_an_unknown_model_is_none():
    runner = Runner(said("x"))
    made = spillway.Cluster(
        [spillway.Deployment(name="m", model="no-such-model", runtime="openai")], runners={"m": lambda _: runner}
    )
    async with made:
        assert (await made.generate("m", "x")).cost_usd is None


async def test_a_published_price_may_be_overridden_in_part():
    runner = Runner(said("x"))
    deployments = [
        spillway.Deployment(name="m", model="gpt-4o-mini", runtime="openai"),
        spillway.Deployment(
            name="n", model="gpt-4o-mini", runtime="openai", pricing=spillway.Pricing(output_per_mtok_usd=100.0)
        ),
    ]
    runner.runtime_kind = "openai"
    made = spillway.Cluster(deployments, runners={"m": lambda _: runner, "n": lambda _: runner})
    async with made:
        published = (await made.generate("m", "x")).cost_usd
        overridden = (await made.generate("n", "x")).cost_usd
    assert published == pytest.approx(10 * 0.15e-6 + 5 * 0.60e-6)
    assert overridden == pytest.approx(10 * 0.15e-6 + 5 * 100e-6)
