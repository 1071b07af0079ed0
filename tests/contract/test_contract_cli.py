"""The command line: help, exit codes, one-line errors, JSON."""

import json
import subprocess
import sys

import pytest

COMMANDS = ["demo", "run", "sim", "init", "check", "models"]


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "spillway", "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    assert done.stderr == ""
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(command, name):
    code, out, err = command(name, "--help")
    assert (code, err) == (0, "")
    assert "Example" in out
    assert f"spillway {name}" in out.partition("Example")[2]


@pytest.mark.parametrize("name", ["demo", "run", "check", "models"])
def test_every_command_that_prints_a_table_prints_json_too(command, name):
    assert "--json" in command(name, "--help")[1]


def test_the_options_of_run(command):
    out = command("run", "--help")[1]
    for option in (
        "--output", "-o", "-c", "-d", "--resume", "--retry-failed", "--ordered", "--concurrency", "--max-cost",
        "--give-up-after", "--priority", "--report", "--dry-run", "--limit",
    ):  # fmt: skip
        assert option in out, option


def test_the_options_of_sim(command):
    out = command("sim", "--help")[1]
    assert all(option in out for option in ("--port", "--seed", "--latency-s", "--limit", "--scenario"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["chekc"], ["check"]),
        (["check", "--lvie"], ["--live"]),
        (["check"], ["spillway.toml", "spillway init"]),
        (["check", "-c", "nowhere.toml"], ["nowhere.toml"]),
        (["run"], ["INPUT"]),
        (["run", "in.jsonl"], ["-o"]),
        (["run", "in.jsonl", "-o", "out.jsonl"], ["spillway.toml"]),
        (["run", "in.jsonl", "-o", "out.jsonl", "-d", "gpt-4o-mini"], ["OPENAI_API_KEY"]),
        (["run", "in.jsonl", "-o", "out.jsonl", "--max-cost", "much"], ["--max-cost"]),
        (["run", "in.jsonl", "-o", "out.jsonl", "--priority", "urgent"], ["--priority"]),
        (["run", "in.jsonl", "-o", "out.jsonl", "--concurrency", "0"], ["--concurrency"]),
        (["init", "nowhere/at/all.toml"], ["nowhere/at/all.toml"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(command, args, words):
    code, out, err = command(*args)
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words), err
    assert "Traceback" not in err


def test_init_writes_a_file_that_check_takes(command, monkeypatch, tmp_path):
    code, _, _ = command("init")
    assert code == 0
    text = (tmp_path / "spillway.toml").read_text()
    assert "#" in text
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, "sk-hunter2")
    code, out, err = command("check")
    assert code == 0, err
    assert "hunter2" not in out + err
    code, out, _ = command("check", "--json")
    assert code == 0
    assert json.loads(out)["ok"] is True
    assert command("init")[0] == 2
    assert (tmp_path / "spillway.toml").read_text() == text


def project(tmp_path, text, name="spillway.toml"):
    (tmp_path / name).write_text(text)


def test_check_names_file_line_key_and_the_nearest_valid_key(command, tmp_path):
    project(tmp_path, '[[deployment]]\nname = "gpt-4o-mini"\n[deployment.retry]\nmax_retrys = 3\n')
    code, out, err = command("check")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert all(word in err for word in ("spillway.toml", ":4", "max_retrys", "max_retries"))


def test_check_finds_a_secret_that_is_not_there_and_warns_of_one_that_is_written_down(command, tmp_path):
    project(
        tmp_path,
        '[[deployment]]\nname = "gpt-4o-mini"\n[deployment.runtime_config]\napi_key = { from_env = "NO_SUCH_VARIABLE" }\n',
    )
    code, _, err = command("check")
    assert code == 2
    assert "NO_SUCH_VARIABLE" in err
    project(
        tmp_path,
        '[[deployment]]\nname = "gpt-4o-mini"\n[deployment.runtime_config]\napi_key = { inline = "sk-hunter2" }\n',
    )
    code, out, err = command("check")
    assert code == 0
    assert "warning" in err
    assert "hunter2" not in out + err


def test_the_file_is_the_one_named_then_the_one_here_then_the_variables(command, monkeypatch, tmp_path):
    project(tmp_path, '[[deployment]]\nname = "gpt-from-variable"\n', "variable.toml")
    project(tmp_path, '[[deployment]]\nname = "gpt-from-option"\n', "option.toml")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("SPILLWAY_CONFIG", str(tmp_path / "variable.toml"))
    assert "gpt-from-variable" in command("check")[1]
    project(tmp_path, '[[deployment]]\nname = "gpt-from-here"\n')
    assert "gpt-from-here" in command("check")[1]
    assert "gpt-from-option" in command("check", "-c", "option.toml")[1]


def test_check_live_asks_each_deployment_once(command, sim, tmp_path):
    project(
        tmp_path,
        f"""
[[deployment]]
name = "m"
model = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{sim}/v1"
api_key = {{ inline = "sk-live" }}
[[deployment]]
name = "down"
model = "gpt-4o-mini"
[deployment.retry]
max_retries = 0
[deployment.runtime_config]
endpoint = "http://127.0.0.1:9/v1"
api_key = {{ inline = "sk-live" }}
""",
    )
    code, out, err = command("check", "--live", "--json")
    assert code == 1
    found = {one["name"]: one for one in json.loads(out)["live"]}
    assert (found["m"]["answered"], found["down"]["answered"]) == (True, False)
    assert "sk-live" not in out + err


def test_check_says_what_is_wrong_on_stderr_even_as_json(command, tmp_path):
    project(tmp_path, '[[deployment]]\nname = "gpt-4o-mini"\n[deployment.retry]\nmax_retrys = 3\n')
    code, out, err = command("check", "--json")
    assert code == 2
    assert json.loads(out)["ok"] is False
    assert "max_retrys" in err
    assert len(err.splitlines()) == 1
