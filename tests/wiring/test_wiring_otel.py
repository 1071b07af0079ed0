"""A Cluster's spans in a program: below the program's own, one for each request and attempt."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from stage import Reply, broken, ended, retry, text_of

from spillway.telemetry.otel import OtelObserver


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def observer(spans):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return OtelObserver(tracer_provider=provider)


def seconds(span):
    return (span.end_time - span.start_time) / 1e9


def test_a_request_below_the_programs_own_span(play, spans, observer):
    async def test(world):
        with observer.tracer.start_as_current_span("mine") as mine:
            await world.ask()
        first, second, request, outer = spans.get_finished_spans()
        assert outer.context.span_id == mine.get_span_context().span_id == request.parent.span_id
        assert first.parent.span_id == second.parent.span_id == request.context.span_id
        assert [seconds(s) for s in (first, second, request)] == pytest.approx([1.0, 2.0, 4.0])
        assert second.start_time - first.end_time == pytest.approx(1e9)
        assert second.attributes["spillway.retry_reason"] == "server_error"

    play(
        test, (Reply(delay_s=1.0, error=broken()), Reply(delay_s=2.0)), retry=retry(), cluster={"observers": [observer]}
    )


def test_a_stream_and_a_refusal(play, spans, observer):
    async def test(world):
        await text_of(world.stream())
        attempt, request = spans.get_finished_spans()
        assert request.attributes["gen_ai.response.time_to_first_chunk"] == pytest.approx(1.5)
        assert (seconds(attempt), seconds(request)) == pytest.approx((2.5, 2.5))
        spans.clear()
        world.cluster.deployment("m").circuit_breaker().force_open(60.0)
        await ended(world.ask())
        (request,) = spans.get_finished_spans()
        assert request.attributes["error.type"] == "circuit_open"
        assert request.attributes["spillway.attempts"] == 0

    play(test, (Reply(text="abcdef", chunks=3, delay_s=1.5, chunk_delay_s=0.5),), cluster={"observers": [observer]})


def test_embeddings_are_named_so(play, spans, observer):
    async def test(world):
        await ended(world.cluster.embed("m", ["a"]))
        assert spans.get_finished_spans()[-1].name == "embeddings m"

    play(test, cluster={"observers": [observer]})
