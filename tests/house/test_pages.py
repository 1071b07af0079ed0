"""The pages say what the code says: tables equal classes, examples work, links and anchors lead somewhere."""

import ast
import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import msgspec
import pytest

import spillway
from spillway.core.errors import InferenceError
from spillway.remote.engine import AttemptRecord, RequestRecord
from spillway.runtime.config import load
from spillway.runtime.metrics import DeploymentMetrics
from spillway.sim import FAULTS, Scenario, SimConfig, Simulator
from spillway.testing import Reply

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def page(name):
    return (DOCS / name).read_text()


def rows(text):
    """The cells of every table row but headings and rules."""
    lines = text.splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        if line.startswith("|") and above.startswith("|") and not set(line) <= set("|- :"):
            yield [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]


def in_backticks(text):
    return set(re.findall(r"`([^`\n]+)`", text))


# Links.


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors_of_links_exist():
    broken = []
    for source in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)#([^)]+)\)", source.read_text()):
            path = source.parent / target if target else source
            if anchor not in anchors(path):
                broken.append(f"{source.name} -> {target}#{anchor}")
    assert not broken


def test_every_page_is_found_from_the_index():
    linked = set(re.findall(r"\]\(([^)#:\s]+)\)", page("index.md")))
    assert {p.name for p in DOCS.glob("*.md")} - linked == {"index.md"}


def test_pictures_come_from_here():
    for source in PAGES:
        for picture in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", source.read_text()):
            assert (source.parent / picture).is_file(), f"{source.name}: {picture}"


def test_the_picture_of_the_demo_stands_alone_and_shows_its_last_line():
    picture = (DOCS / "images" / "demo.svg").read_text()
    assert set(re.findall(r"https?://[^\"')\s]+", picture)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@font-face|@import|<script|<image|href=", picture)
    assert "300&#160;of&#160;300&#160;prompts&#160;answered&#160;exactly&#160;once" in picture


# Tables.


def leaves(kind=InferenceError):
    for child in kind.__subclasses__():
        if child.__module__ == InferenceError.__module__:
            yield child
            yield from leaves(child)


def test_the_table_of_errors_is_that_of_the_classes():
    def yes(value):
        return "yes" if value else "no"

    tree = page("errors.md").split("## The tree\n", 1)[1].split("\n## ", 1)[0]
    told = [row for row in rows(tree) if row[0] != "class"]
    true = []
    for kind in leaves():
        error = kind()
        true.append(
            [
                kind.__name__, error.code, str(error.http_status), yes(error.retryable),
                yes(error.counts_as_circuit_failure), yes(error.falls_back), error.limited_by or "-",
            ]
        )  # fmt: skip
    assert told == true
    assert all(hasattr(spillway, row[0]) for row in told)


def test_every_attribute_of_an_error_is_told():
    text = page("errors.md")
    known = set(vars(spillway.CircuitOpen())) | {
        "opened_at",
        "retry_at",
        "falls_back",
        "message",
        "code",
        "http_status",
    }
    assert known - in_backticks(text) == set()


def reasons():
    """The `reason`s of the errors that a request can end in, as they stand in the code."""
    for folder in ("remote", "providers", "runtime"):
        for path in (ROOT / "src" / "spillway" / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
                    continue
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                if not hasattr(spillway, name):
                    continue
                for keyword in node.keywords:
                    if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant):
                        yield keyword.value.value


def test_every_reason_is_told():
    found = set(reasons())
    assert len(found) > 25
    assert found - in_backticks(page("errors.md")) == set()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (DeploymentMetrics, "observability.md"),
        (AttemptRecord, "observability.md"),
        (RequestRecord, "observability.md"),
        (Reply, "testing.md"),
        (spillway.Tokens, "python.md"),
        (spillway.Usage, "python.md"),
        (spillway.TokenChunk, "streaming.md"),
        (spillway.RetryPolicy, "retries.md"),
        (spillway.Serving, "queue.md"),
        (spillway.Timeouts, "how-a-request-travels.md"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_field_is_told(kind, name):
    text = page(name)
    shortened = {f"latency_{q}_s" for q in ("p95", "p99")} | {"first_content_p95_s"}
    missing = [field for field in kind.__struct_fields__ if not re.search(rf"\b{field}\b", text)]
    assert set(missing) - shortened == set()


def test_every_fault_of_the_simulator_is_told():
    told = {word.split("=")[0] for word in in_backticks(page("simulator.md"))}
    assert set(FAULTS) - told == set()


async def test_every_counter_of_the_simulator_is_told():
    async with Simulator(SimConfig()) as sim:
        counters = set(sim.stats())
    assert counters - in_backticks(page("simulator.md")) == set()


@pytest.mark.parametrize("kind", [spillway.Cluster, spillway.Deployed], ids=lambda kind: kind.__name__)
def test_every_public_method_is_told_with_an_example(kind):
    text = page("python.md")
    snippets = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    methods = [name for name in dir(kind) if not name.startswith("_")]
    assert [name for name in methods if not re.search(rf"[`.]{name}\b", text)] == []
    by_context = {"aclose", "close", "start"}  # an `async with` and a `with` are their examples
    assert [name for name in methods if not re.search(rf"\.{name}\b", snippets) and name not in by_context] == []


def test_every_keyword_of_generate_is_told():
    import inspect

    told = in_backticks(page("python.md"))
    assert set(inspect.signature(spillway.Cluster.generate).parameters) - told - {"self", "name", "prompt"} == set()


# Examples.


def test_the_scenario_of_the_page_is_the_example():
    shown = re.search(r"```toml\n(.*?)```", page("simulator.md"), re.DOTALL)[1]
    example = (EXAMPLES / "outage.toml").read_text()
    assert tomllib.loads(shown) == tomllib.loads(example)
    assert len(Scenario.from_file(EXAMPLES / "outage.toml").phases) == 3


def test_the_example_project_file_is_right_and_without_doubts():
    deployments = load(EXAMPLES / "spillway.toml").deployments
    assert [d.name for d in deployments] == ["gpt-4o-mini-a", "gpt-4o-mini-b", "claude-haiku"]
    assert [doubt for d in deployments for doubt in d.validate()] == []


def test_the_prompts_of_the_readme_are_the_example():
    readme = (ROOT / "README.md").read_text()
    lines = (EXAMPLES / "prompts.jsonl").read_text().splitlines()
    assert [line for line in readme.splitlines() if line.startswith('{"id"')] == lines[:2]


async def test_the_example_prompts_are_answered_by_the_command_of_the_readme(tmp_path):
    async with Simulator(SimConfig(seed=1)) as sim:
        environ = {**os.environ, "OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": f"{sim.url}/v1"}
        environ.pop("SPILLWAY_CONFIG", None)
        command = ["run", EXAMPLES / "prompts.jsonl", "-o", "answers.jsonl", "-d", "gpt-4o-mini", "--max-cost", "5"]
        for more in ([], ["--resume"]):
            run = await asyncio.to_thread(
                subprocess.run, [sys.executable, "-m", "spillway", *command, *more],
                cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert run.returncode == 0, run.stderr
        answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert sorted(answer["custom_id"] for answer in answers) == ["a", "b", "c"]
        assert all(answer["error"] is None for answer in answers)
        assert sim.stats()["served"] == 3


def test_console_snippets_use_commands_and_options_that_exist():
    import click

    from spillway.cli.main import COMMANDS, commands

    broken = []
    for source in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```", source.read_text(), re.DOTALL | re.MULTILINE):
            for line in re.findall(r"^\$ spillway (.+)$", block, re.MULTILINE):
                name, *words = line.split("  #")[0].split()
                if name not in COMMANDS:
                    broken.append(f"{source.name}: {name}")
                    continue
                command = commands.get_command(None, name)
                while isinstance(command, click.Group) and words and words[0] in command.commands:
                    command = command.commands[words.pop(0)]
                known = {o for p in command.params if isinstance(p, click.Option) for o in p.opts} | {"--help"}
                broken += [
                    f"{source.name}: {line}"
                    for w in words
                    if w.startswith("-") and w != "-" and w.partition("=")[0] not in known
                ]
    assert not broken


def test_metrics_encode_as_plain_json():
    assert msgspec.json.encode(spillway.ClusterMetrics(per_deployment={})) == b'{"per_deployment":{}}'
