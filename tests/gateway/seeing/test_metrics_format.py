"""The exposition as Prometheus reads it: names, kinds, units, both formats, and the process's own metrics."""

import asyncio
import os
import platform
import re
import subprocess
import sys

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from through import ADMIN, Scraped, ask

import spillway
from spillway.telemetry.catalog import METRICS

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
UNITS = ("seconds", "usd", "bytes")


async def test_prometheus_own_format_by_default(gate, sim):
    g = await gate()
    answer = await ask(g.app, "GET", "/metrics", None, ADMIN)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    names = {name.removesuffix("_total") for name in METRICS}
    told = set(Scraped(answer.body.decode()).families)
    assert names <= told
    assert {name for name in told - names if not name.startswith("spillway_process_")} == set()


async def test_openmetrics_where_it_is_asked_for(gate, sim):
    g = await gate()
    await g.chat(stream=True)
    answer = await ask(g.app, "GET", "/metrics", None, {**ADMIN, "accept": OPEN})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    text = answer.body.decode()
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in open_metrics(text)}
    counter = families["spillway_requests"]
    assert counter.type == "counter"
    assert {sample.name for sample in counter.samples} == {"spillway_requests_total"}


@pytest.mark.parametrize(
    "accept",
    ["", "*/*;q=0", "text/plain;version=abc", "text/plain; version=1.0.0; escaping=foo,,,;", "\x00;;,=", "a" * 5000],
)
async def test_odd_wishes_get_the_usual(gate, sim, accept):
    g = await gate()
    answer = await ask(g.app, "GET", "/metrics", None, {**ADMIN, "accept": accept})
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")


async def test_odd_names_are_quoted(gate, sim):
    g = await gate()
    name = 'we"ird\\ name\n1 ☃'
    g = await gate(deployments=[g.deployment(name)])
    await g.chat(name)
    for accept in ("", OPEN):
        answer = await ask(g.app, "GET", "/metrics", None, {**ADMIN, "accept": accept})
        read = open_metrics if accept else text_string_to_metric_families
        rows = [sample for family in read(answer.body.decode()) for sample in family.samples]
        assert [s.value for s in rows if s.name == "spillway_attempts_total" and s.labels["deployment"] == name] == [
            1,
            0,
        ]


async def test_scrapes_at_once(gate, sim):
    g = await gate()
    scrapes = await asyncio.gather(*(g.scrape() for _ in range(8)))
    assert all(seen("spillway_build_info") == 1 for seen in scrapes)


async def test_names_follow_the_rules(gate, sim):
    g = await gate()
    await g.chat(stream=True)
    for name, family in (await g.scrape()).families.items():
        assert re.fullmatch(r"spillway_[a-z0-9]+(_[a-z0-9]+)*", name), name
        assert family.documentation, name
        assert not re.search(r"_(milliseconds|ms|minutes|count|sum|bucket|counter|gauge|info_total)$", name), name
        kind = family.type
        own = METRICS.get(name + "_total" if kind == "counter" else name)
        assert own is None or own.kind == kind, name
        for sample in family.samples:
            if kind == "counter":
                assert sample.name == name + "_total"
            labels = set(sample.labels) - {"le"}
            assert own is None or labels == set(own.labels), name
        if kind == "histogram":
            assert name.endswith(UNITS), name
        for unit in UNITS:
            assert unit not in name or name.endswith(unit), name


async def test_a_histogram_adds_up(gate, sim):
    g = await gate()
    for _ in range(20):
        await g.chat()
    rows = (await g.scrape()).families["spillway_overhead_seconds"].samples
    about = {"door": "chat"}
    buckets = [s for s in rows if s.name.endswith("_bucket") and about.items() <= s.labels.items()]
    counts = [s.value for s in buckets]
    assert counts == sorted(counts)
    assert counts[-1] == 20
    edges = [float(s.labels["le"]) for s in buckets]
    assert edges == sorted(edges)


async def test_what_runs(gate, sim):
    g = await gate(name="production")
    seen = await g.scrape()
    about = {"cluster": "production", "version": spillway.__version__, "python": platform.python_version()}
    assert seen("spillway_build_info", **about) == 1
    assert seen("spillway_process_open_fds") > 3
    assert seen("spillway_process_resident_memory_bytes") > 10_000_000
    assert seen("spillway_process_cpu_seconds_total") > 0


def test_without_the_extra_the_door_says_which():
    code = """
import asyncio, sys
sys.modules["prometheus_client"] = None
import spillway
from spillway.gateway import create_app
app = create_app(spillway.Cluster([spillway.Deployment(name="gpt-4o-mini")]))
said = []
async def send(message): said.append(message)
async def receive(): return {"type": "http.request", "body": b""}
scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": [], "client": ("127.0.0.1", 1)}
asyncio.run(app(scope, receive, send))
print(said[0]["status"], said[1]["body"].decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=dict(os.environ)
    )
    assert done.stdout.startswith("501 ")
    assert "spillway[gateway]" in done.stdout
