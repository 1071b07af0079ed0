"""`spillway serve` as a process: spans and metrics arrive over OTLP, log lines on stderr."""

import contextlib
import http.server
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spillway.sim import SimConfig, Simulator

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Receiver(http.server.ThreadingHTTPServer):
    """Takes OTLP over HTTP and keeps it."""

    daemon_threads = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Keep)
        self.got = {"/v1/traces": [], "/v1/metrics": []}

    def spans(self):
        return [
            (span, {a.key: a.value for a in group.resource.attributes})
            for body in self.got["/v1/traces"]
            for group in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in group.scope_spans
            for span in scope.spans
        ]

    def metrics(self):
        return {
            metric.name
            for body in self.got["/v1/metrics"]
            for group in ExportMetricsServiceRequest.FromString(body).resource_metrics
            for scope in group.scope_metrics
            for metric in scope.metrics
        }


class _Keep(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.server.got[self.path].append(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def receiver():
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch(url, body=None, headers=()):
    request = urllib.request.Request(url, data=body, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


@contextlib.contextmanager
def serving(tmp_path, sim_url, **environ):
    port = free_port()
    (tmp_path / "spillway.toml").write_text(
        f"""[cluster]
name = "production"
[gateway]
bind = "127.0.0.1:{port}"
[[deployment]]
name = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{sim_url}/v1"
api_key = {{ inline = "sk-sim" }}
"""
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "SPILLWAY_"))}
    process = subprocess.Popen(
        [str(pathlib.Path(sys.executable).parent / "spillway"), "serve"],
        cwd=tmp_path, env={**clean, **environ}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.said = ""
    try:
        until = time.monotonic() + 30
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError):
                fetch(f"http://127.0.0.1:{port}/readyz")
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGTERM)
        _, process.said = process.communicate(timeout=40)


@pytest.fixture
async def sim_url():
    async with Simulator(SimConfig(seed=1)) as sim:
        yield sim.url


def ask(url):
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "CANARY"}]}
    headers = {"content-type": "application/json", "traceparent": PARENT, "x-request-id": "mine-1"}
    return json.loads(fetch(url + "/v1/chat/completions", json.dumps(body).encode(), headers))


async def in_thread(act, *given):
    import asyncio

    return await asyncio.to_thread(act, *given)


async def test_spans_metrics_and_lines_leave_the_process(tmp_path, sim_url):
    def act(otlp):
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp.server_port}"}
        with serving(tmp_path, sim_url, **variables) as (url, process):
            answer = ask(url)
            scraped = fetch(url + "/metrics").decode()
        return answer, scraped, process

    with receiver() as otlp:
        answer, scraped, process = await in_thread(act, otlp)
        spans, metrics = otlp.spans(), otlp.metrics()
    assert process.returncode == 0, process.said
    names = sorted(span.name for span, _ in spans)
    assert names == ["POST /v1/chat/completions", "attempt gpt-4o-mini", "chat gpt-4o-mini"]
    assert {span.trace_id.hex() for span, _ in spans} == {PARENT[3:35]}
    assert spans[0][1]["service.name"].string_value == "spillway"
    assert {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
        "http.server.request.duration",
    } <= metrics
    lines = [json.loads(line) for line in process.said.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["serving", "request", "draining", "stopped"]
    assert lines[0]["cluster"] == "production"
    (request,) = [line for line in lines if line["event"] == "request"]
    assert (request["request_id"], request["trace_id"]) == ("mine-1", PARENT[3:35])
    assert request["output_tokens"] == answer["usage"]["completion_tokens"]
    assert 'spillway_build_info{cluster="production"' in scraped
    assert "CANARY" not in process.said + scraped + str(spans)


async def test_no_endpoint_no_export_and_a_level(tmp_path, sim_url):
    def act():
        with serving(tmp_path, sim_url, SPILLWAY_LOG_LEVEL="warning") as (url, process):
            ask(url)
        return process

    process = await in_thread(act)
    assert process.returncode == 0, process.said
    assert "{" not in process.said


async def test_wrong_variables_end_it_at_once(tmp_path, sim_url):
    def act(variables):
        with serving(tmp_path, sim_url, **variables) as (_, process):
            process.wait(30)
        return process

    for variables, says in (
        ({"SPILLWAY_LOG_LEVEL": "LOUD"}, "SPILLWAY_LOG_LEVEL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc"),
    ):
        process = await in_thread(act, variables)
        assert process.returncode == 2, process.said
        assert says in process.said
        assert "Traceback" not in process.said
