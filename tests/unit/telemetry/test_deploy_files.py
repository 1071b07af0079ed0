"""The dashboard and the alerts ask for metrics and labels that exist, in PromQL that parses at least as far as its words."""

import json
import pathlib
import re

import pytest
import yaml

from spillway.core.errors import InferenceError
from spillway.telemetry.catalog import METRICS

DEPLOY = pathlib.Path(__file__).parents[3] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "spillway.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]] + [rule["expr"] for rule in RULES]

PROCESS = {
    "spillway_process_cpu_seconds_total",
    "spillway_process_resident_memory_bytes",
    "spillway_process_open_fds",
    "spillway_process_max_fds",
}
FUNCTIONS = {"sum", "max", "min", "rate", "increase", "histogram_quantile", "absent"}
TOKENS = re.compile(
    r'\s+|"(?:[^"\\]|\\.)*"|\[(?:\$__rate_interval|\d+[smhd])\]|=~|!~|!=|==|<=|>=|[-+*/<>=(){},]|\d+(?:\.\d+)?|[a-zA-Z_]\w*'
)


def words(expression):
    place, found = 0, []
    while place < len(expression):
        match = TOKENS.match(expression, place)
        assert match, f"not PromQL: {expression[place:]!r}"
        if not match.group().isspace():
            found.append(match.group())
        place = match.end()
    return found


def labels_of(name):
    """The labels of a metric as it is stored, None for one that does not exist."""
    if name in PROCESS:
        return {"instance", "job"}
    metric = METRICS.get(name)
    if metric is not None and metric.kind != "histogram":
        return {*metric.labels, "instance", "job"}
    base, _, part = name.rpartition("_")
    metric = METRICS.get(base)
    if metric is None or metric.kind != "histogram" or part not in {"bucket", "count", "sum"}:
        return None
    return {*metric.labels, "instance", "job", *(["le"] if part == "bucket" else [])}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_what_there_is(expression):
    found = words(expression)
    depth = []
    for word in found:
        if word in "({":
            depth.append(word)
        elif word in ")}":
            assert depth.pop() + word in {"()", "{}"}
    assert not depth
    metrics = [word for word in found if word.startswith("spillway_")]
    assert metrics
    for place, word in enumerate(found):
        after = found[place + 1] if place + 1 < len(found) else ""
        if word in metrics:
            assert labels_of(word) is not None, f"no metric {word}"
            if after == "{":
                inside = found[place + 2 : found.index("}", place)]
                names = inside[::4]
                assert set(inside[1::4]) <= {"=", "=~", "!=", "!~"}
                assert set(inside[3::4]) <= {","}
                assert set(names) <= labels_of(word), (word, names)
        elif word == "by":
            names = {w for w in found[place + 2 : found.index(")", place)] if w != ","}
            assert names <= set.union(*(labels_of(m) for m in metrics)), names
        elif re.fullmatch(r"[a-z_]+", word) and after == "(":
            assert word in FUNCTIONS, word
    for counted in re.findall(r"(\w+)\((spillway_\w+)", expression):
        ending = counted[1].endswith(("_total", "_bucket", "_sum", "_count"))
        assert (counted[0] in {"rate", "increase"}) == ending, counted


def test_every_metric_has_a_panel():
    asked = {word for panel in PANELS for t in panel["targets"] for word in words(t["expr"])}
    stored = {f"{m.name}_bucket" if m.kind == "histogram" else m.name for m in METRICS.values()}
    assert stored | PROCESS == {word for word in asked if word.startswith("spillway_")}


def test_panels_are_told_apart_and_lie_beside_each_other():
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in every}) == len(every)
    assert all(panel["description"] for panel in PANELS)
    taken = set()
    for panel in every:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells


def test_labels_in_legends_and_messages_exist():
    for panel in PANELS:
        for target in panel["targets"]:
            metrics = [word for word in words(target["expr"]) if word.startswith("spillway_")]
            known = set.union(*(labels_of(m) for m in metrics))
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known
    for rule in RULES:
        metrics = [word for word in words(rule["expr"]) if word.startswith("spillway_")]
        known = set.union(*(labels_of(m) for m in metrics))
        assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= known
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_outcomes_that_are_asked_for_exist():
    codes = {"ok", "cancelled", *every_code(InferenceError)}
    for expression in EXPRESSIONS:
        for asked in re.findall(r'outcome(?:=~|!=|=)"([^"]*)"', expression):
            assert set(asked.split("|")) <= codes


def every_code(kind):
    yield kind.code
    for each in kind.__subclasses__():
        yield from every_code(each)


def test_variables_ask_for_what_there_is():
    for variable in DASHBOARD["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
        assert label in labels_of(metric)
        assert label == variable["name"]
