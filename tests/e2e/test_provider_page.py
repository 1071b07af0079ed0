"""docs/write-a-provider.md, installed exactly as it stands, and run: its tests, the command line, the project file."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

from spillway.testing.runner_conformance import RUNNER_CHECKS

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "write-a-provider.md").read_text()
BLOCKS = re.findall(r"^```(?:python|py|toml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def installed(tmp_path):
    """The page's files, and the entry points of its package as pip would install them."""
    for block in BLOCKS:
        named = re.match(r"# (\S+)\n", block)
        if named:
            (tmp_path / named[1]).write_text(block)
    project = next(tomllib.loads(block) for block in BLOCKS if "[project]" in block)["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(folder, *command, **environ):
    keep = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env={**keep, "PYTHONPATH": str(folder), **environ},
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip


def test_the_files_are_there_and_the_provider_has_less_than_100_lines_of_code(installed):
    assert {path.name for path in installed.glob("*.*") if path.is_file()} == {
        "echoai.py", "fake_echoai.py", "spillway.toml", "test_echoai.py",
    }  # fmt: skip
    lines = (installed / "echoai.py").read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.lstrip().startswith("#")]) < 100


def test_its_tests_pass(installed):
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    options += ["-o", "asyncio_default_fixture_loop_scope=function"]
    done = run(installed, "-m", "pytest", *options, "test_echoai.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"{len(RUNNER_CHECKS) + 1} passed" in done.stdout.strip().splitlines()[-1]


def test_the_command_line_knows_it(installed):
    assert run(installed, "-m", "spillway", "check", ECHOAI_API_KEY="sk-test").returncode == 0
    missing = run(installed, "-m", "spillway", "check", "--json")
    assert missing.returncode == 2
    report = json.loads(missing.stdout)
    assert report["deployments"][0]["secrets"] == [{"place": "environment variable ECHOAI_API_KEY", "state": "missing"}]
    assert "set ECHOAI_API_KEY" in report["problems"][0]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("voice ", "voize "), '[deployment.runtime_config] unknown key "voize" (did you mean "voice"?)'),
        (
            ('"loud"', '"lowd"'),
            '[deployment.runtime_config] voice "lowd" is not one of calm, loud (did you mean "loud"?)',
        ),
        (('voice    = "loud"', "repeats = 0"), "[deployment.runtime_config] repeats must be at least 1"),
        (('voice    = "loud"', 'repeats = "2"'), "[deployment.runtime_config] repeats: expected an integer, got text"),
        (
            ('"echoai"', '"echo"'),
            '[deployment] runtime "echo" is not one of openai, anthropic, gemini, litellm, echoai',
        ),
    ],
)
def test_its_own_options_are_checked_with_one_line_each(installed, change, line):
    path = installed / "spillway.toml"
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    done = run(installed, "-m", "spillway", "check", ECHOAI_API_KEY="sk-test")
    assert done.returncode == 2
    assert f"spillway.toml:{4 if 'runtime ' in line else 7}: {line}" in done.stderr


def test_defaults_take_its_keys(installed):
    path = installed / "spillway.toml"
    path.write_text(path.read_text() + '\n[defaults.runtime_config]\nrepeats = 2\norganization = "o"\n')
    assert run(installed, "-m", "spillway", "check", ECHOAI_API_KEY="sk-test").returncode == 0
    path.write_text(path.read_text().replace("repeats = 2", "repeat = 2"))
    done = run(installed, "-m", "spillway", "check", ECHOAI_API_KEY="sk-test")
    assert '[defaults.runtime_config] unknown key "repeat" (did you mean "repeats"?)' in done.stderr
