"""The page names every metric there is, with its kind and labels, and no other."""

import pathlib
import re

from prometheus_client.parser import text_string_to_metric_families

from spillway.telemetry.catalog import METRICS
from spillway.telemetry.prometheus import expose
from spillway.telemetry.readings import Reading

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "observability.md").read_text()
ROW = re.compile(r"^\| `(spillway_\w+)` \| (\w+) \| (.*?) \| (.+) \|$", re.MULTILINE)


def test_every_metric_is_on_the_page_and_none_else():
    text, _ = expose([Reading(metric, []) for metric in METRICS.values()], "")
    exposed = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(text.decode())
    }
    rows = ROW.findall(PAGE)
    assert len({name for name, *_ in rows}) == len(rows)
    assert {name: kind for name, kind, *_ in rows} == exposed
    for name, _, labels, says in rows:
        metric = METRICS.get(name)
        if metric is not None:
            assert re.findall(r"`(\w+)`", labels) == list(metric.labels), name
            assert says + "." == metric.help, name
