"""One trace a request, from the caller's own span down to each attempt, by the GenAI conventions."""

import asyncio

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from through import TEAM, ask

import spillway
from spillway.gateway.seeing.tracing import RequestTracer
from spillway.gateway.served import Served
from spillway.remote.engine import AttemptRecord, RequestRecord
from spillway.telemetry.otel import OtelObserver

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traces:
    """Exporters in memory and what they got."""

    def __init__(self):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers, self.meters = TracerProvider(shutdown_on_exit=False), MeterProvider([self.reader])
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.observer = OtelObserver(tracer_provider=tracers, meter_provider=self.meters)
        self.tracer = RequestTracer(self.observer)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def points(self, name):
        data = self.reader.get_metrics_data()
        found = [] if data is None else [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return [p for m in found if m.name == name for p in m.data.data_points]


@pytest.fixture
def traces():
    made = Traces()
    yield made
    made.meters.shutdown()


async def traced(gate, traces, **options):
    return await gate(observers=[traces.tracer], listeners=[traces.tracer], **options)


def below(spans, parent):
    inside = [s for s in spans if s.parent is not None and s.parent.span_id == parent.context.span_id]
    return sorted(inside, key=lambda s: s.start_time)


def tree(spans):
    """The server span, the inference span below it, and the attempts below that; nothing else."""
    (server,) = [s for s in spans if s.kind is SpanKind.SERVER]
    (inference,) = below(spans, server)
    attempts = below(spans, inference)
    assert len(spans) == 2 + len(attempts)
    assert len({s.context.trace_id for s in spans}) == 1
    for outer, inner in [(server, inference), *((inference, each) for each in attempts)]:
        assert outer.start_time <= inner.start_time + 2_000_000
        assert inner.end_time <= outer.end_time + 2_000_000
    return server, inference, attempts


async def test_a_request_is_one_trace(gate, sim, traces):
    g = await traced(gate, traces)
    body = (await g.chat(headers={"traceparent": PARENT}, temperature=0.5, max_tokens=9, seed=3)).json()
    server, inference, (attempt,) = tree(traces.spans)
    assert server.name == "POST /v1/chat/completions"
    assert f"{server.context.trace_id:032x}" == PARENT[3:35]
    assert f"{server.parent.span_id:016x}" == PARENT[36:52]
    told = dict(server.attributes)
    assert told["http.request.method"], told["http.route"] == ("POST", "/v1/chat/completions")
    assert (told["http.response.status_code"], told["spillway.tenant"]) == (200, "team")
    assert (inference.name, inference.kind) == ("chat gpt-4o-mini", SpanKind.CLIENT)
    told, usage = dict(inference.attributes), body["usage"]
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == "openai"
    assert told["gen_ai.request.model"] == "gpt-4o-mini"
    assert (told["gen_ai.request.temperature"], told["gen_ai.request.max_tokens"]) == (0.5, 9)
    assert told["gen_ai.request.seed"] == 3
    assert told["gen_ai.response.finish_reasons"] == (body["choices"][0]["finish_reason"],)
    assert told["gen_ai.response.model"].startswith("gpt-4o-mini")
    assert told["gen_ai.response.id"]
    assert told["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert told["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert told["spillway.cost_usd"] == pytest.approx((await g.sim_stats())["billed_usd"])
    assert (told["server.address"], told["server.port"]) == ("127.0.0.1", sim.port)
    assert "gen_ai.request.stream" not in told
    assert attempt.attributes["spillway.outcome"] == "ok"
    assert all(s.status.status_code is StatusCode.UNSET for s in traces.spans)


async def test_attempts_over_retries_and_a_fallback(gate, sim, traces):
    sim.set_scenario({"phase": [{"fault": "503", "path": "/v1/chat/*"}]})
    config = spillway.AnthropicConfig(endpoint=sim.url, api_key=spillway.Secret("sk-sim"))
    spare = spillway.Deployment(name="spare", model="claude-haiku-4-5", runtime_config=config)
    retry = spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.01, jitter="none")
    g = await gate()
    g = await traced(gate, traces, deployments=[g.deployment("first", fallback=("spare",), retry=retry), spare])
    assert (await g.chat("first")).status == 200
    _, inference, attempts = tree(traces.spans)
    assert [a.name for a in attempts] == ["attempt first", "attempt first", "attempt spare"]
    assert [a.attributes["spillway.attempt"] for a in attempts] == [0, 1, 2]
    assert [a.attributes.get("error.type") for a in attempts] == ["server_error", "server_error", None]
    assert [a.attributes.get("spillway.retry_reason") for a in attempts] == [None, "server_error", "server_error"]
    assert [a.attributes.get("http.response.status_code") for a in attempts] == [503, 503, None]
    assert [a.attributes["gen_ai.provider.name"] for a in attempts] == ["openai", "openai", "anthropic"]
    assert [a.status.status_code is StatusCode.ERROR for a in attempts] == [True, True, False]
    assert inference.name == "chat claude-haiku-4-5"
    told = dict(inference.attributes)
    assert (told["spillway.asked"], told["spillway.deployment"]) == ("first", "spare")
    assert (told["spillway.attempts"], told["spillway.retries"], told["spillway.fell_back"]) == (3, 1, True)


async def test_a_stream_lasts_until_it_is_read(gate, sim, traces):
    g = await traced(gate, traces)
    await g.chat(stream=True, how={"slow_s": 0.1})
    server, inference, (attempt,) = tree(traces.spans)
    told = dict(inference.attributes)
    assert told["gen_ai.request.stream"] is True
    assert 0 < told["gen_ai.response.time_to_first_chunk"] < (inference.end_time - inference.start_time) / 1e9
    assert server.end_time - server.start_time > 2e8
    assert traces.points("gen_ai.client.operation.time_to_first_chunk")[0].count == 1
    assert traces.points("gen_ai.client.operation.time_per_output_chunk")[0].count >= 1


async def test_errors_and_refusals(gate, sim, traces):
    once = spillway.RetryPolicy(max_retries=0)
    g = await gate()
    g = await traced(gate, traces, deployments=[g.deployment("m", retry=once)])
    sim.set_scenario({"phase": [{"fault": "500"}]})
    assert (await g.chat("m")).status == 502
    server, inference, _ = tree(traces.spans)
    for span in (server, inference):
        assert span.attributes["error.type"] == "server_error"
        assert span.status.status_code is StatusCode.ERROR
    (point,) = traces.points("gen_ai.client.operation.duration")
    assert point.attributes["error.type"] == "server_error"
    assert traces.points("gen_ai.client.token.usage") == []
    traces.exporter.clear()
    assert (await g.chat("nobody")).status == 404
    (span,) = traces.spans
    assert (span.kind, span.attributes["http.response.status_code"]) == (SpanKind.SERVER, 404)
    assert span.status.status_code is StatusCode.UNSET
    traces.exporter.clear()
    await ask(g.app, "BREW", "/v1/made-up", None, TEAM)
    (span,) = traces.spans
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")
    assert "made-up" not in str(dict(span.attributes))


async def test_a_mounted_gateway_is_part_of_its_app(gate, sim, traces):
    """And what the app asks its Cluster itself is told at once, below whatever the app was doing."""
    g = await traced(gate, traces)
    with traces.observer.tracer.start_as_current_span("the app") as app:
        await g.chat(headers={"traceparent": PARENT})
        await g.cluster.generate("gpt-4o-mini", "Say hello")
    spans = traces.spans
    inside = below(spans, spans[-1])
    assert [s.name for s in inside] == ["POST /v1/chat/completions", "chat gpt-4o-mini"]
    assert {s.context.trace_id for s in spans} == {app.get_span_context().trace_id}
    assert len(spans) == 6


async def test_a_caller_who_leaves(slow_gate, traces):
    g = await traced(slow_gate, traces)
    leave = asyncio.Event()
    asyncio.get_running_loop().call_later(0.4, leave.set)
    await g.chat(stream=True, how={"leave": leave})
    server, inference, (attempt,) = tree(traces.spans)
    for span in (server, inference, attempt):
        assert span.attributes["spillway.outcome"] == "cancelled"
        assert "error.type" not in span.attributes


def test_a_stream_that_is_read_on_without_its_caller(traces):
    """The engines tell of it after the gateway has; it is one trace all the same."""
    attempt = AttemptRecord(at=9.0, deployment="m", attempt=0, outcome="ok", elapsed_s=8.0, request_id="e", tenant="t")
    request = RequestRecord(
        at=9.0, asked="m", deployment="m", outcome="ok", elapsed_s=8.5, queued_s=0.0, attempts=1, retries=0,
        fell_back=False, request_id="e", tenant="t", model="m",
    )  # fmt: skip
    served = Served(
        at=3.0, request_id="r", errand_id="e", door="chat", status=200, outcome="cancelled", elapsed_s=2.6, attempts=1
    )
    traces.tracer.on_served(served)
    assert len(traces.spans) == 1
    traces.tracer.on_attempt(attempt)
    traces.tracer.on_request(request)
    server, inference, last = traces.spans[0], traces.spans[2], traces.spans[1]
    assert inference.parent.span_id == server.context.span_id
    assert last.parent.span_id == inference.context.span_id


async def test_metrics_by_the_conventions(gate, sim, traces):
    g = await traced(gate, traces)
    usages = [(await g.chat()).json()["usage"] for _ in range(3)]
    (duration,) = traces.points("gen_ai.client.operation.duration")
    assert duration.count == 3
    assert list(duration.explicit_bounds) == pytest.approx([0.01 * 2**n for n in range(14)])
    assert duration.attributes["gen_ai.operation.name"] == "chat"
    assert duration.attributes["gen_ai.provider.name"] == "openai"
    tokens = {p.attributes["gen_ai.token.type"]: p for p in traces.points("gen_ai.client.token.usage")}
    assert tokens["input"].sum == sum(u["prompt_tokens"] for u in usages)
    assert tokens["output"].sum == sum(u["completion_tokens"] for u in usages)
    assert list(tokens["input"].explicit_bounds) == [4**n for n in range(14)]
    (http,) = traces.points("http.server.request.duration")
    assert (http.count, http.attributes["http.route"]) == (3, "/v1/chat/completions")


async def test_probes_and_bad_parents_and_no_prompt(gate, sim, traces):
    g = await traced(gate, traces)
    await ask(g.app, "GET", "/healthz")
    await g.scrape()
    assert traces.spans == ()
    await g.chat(
        headers={"traceparent": "00-zz\x1b-nonsense", "tracestate": "CANARY"},
        messages=[{"role": "user", "content": "the CANARY sings"}],
        user="CANARY",
    )
    server, _, _ = tree(traces.spans)
    assert server.parent is None
    for span in traces.spans:
        assert "CANARY" not in span.to_json()
        assert "sk-sim" not in span.to_json()
        assert "team-secret" not in span.to_json()
