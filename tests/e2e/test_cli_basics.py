"""The command line as a process: help, init, check and the simulator."""

import contextlib
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

from spillway.cli.main import COMMANDS, commands
from spillway.sim import DEFAULT_LATENCY_S

SCRIPT = pathlib.Path(sys.executable).parent / "spillway"
KEYS = {"OPENAI_API_KEY": "sk-hunter2", "ANTHROPIC_API_KEY": "hunter2-b", "GEMINI_API_KEY": "hunter2-c"}


def environ(extra=None):
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONWARNINGS": "error", **(extra or {})}


@pytest.fixture
def spillway(tmp_path):
    def run(*args, env=None, **options):
        return subprocess.run(
            [sys.executable, "-m", "spillway", *args],
            capture_output=True, text=True, cwd=tmp_path, env=environ(env), timeout=60, check=False, **options,
        )  # fmt: skip

    return run


@contextlib.contextmanager
def simulator(*args):
    process = subprocess.Popen(
        [sys.executable, "-m", "spillway", "sim", "--port", "0", "--latency-s", "0", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ(),
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        yield process, re.fullmatch(r"spillway sim listening on (http://127\.0\.0\.1:\d+)\n", line)[1]
    finally:
        process.kill()
        process.communicate()


def asked(url, key="k", prompt="hi"):
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}).encode()
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", body, {"authorization": f"Bearer {key}", "content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


class TestFrame:
    def test_help_lists_every_command_that_there_is(self, spillway):
        out = spillway("--help")
        assert out.returncode == 0
        listed = re.findall(r"^  ([a-z-]+)  +\S", out.stdout.split("Commands:")[1], re.MULTILINE)
        assert listed == list(COMMANDS)
        assert {"init", "check", "sim"} <= set(listed)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_each_command_says_the_same_in_the_overview_and_in_its_own_help_and_has_an_example(self, name, spillway):
        out = spillway(name, "--help")
        assert out.returncode == 0
        assert re.search(rf"Examples?:\s+spillway {name}", out.stdout)
        assert COMMANDS[name] == commands.get_command(None, name).help.splitlines()[0]

    @pytest.mark.parametrize(
        "args", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
    )
    def test_help_loads_no_http(self, args):
        code = f"""
import sys
from spillway.cli.main import main
try:
    main({args!r})
except SystemExit as exit:
    assert exit.code == 0
print([name for name in ("aiohttp", "genai_prices", "rich") if name in sys.modules])
"""
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert out.stdout.endswith("[]\n")

    def test_the_script_is_the_module(self, spillway):
        script = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, timeout=60, check=True)
        assert script.stdout == spillway("--version").stdout
        assert re.fullmatch(r"spillway \d+\.\d+\.\d+\n", script.stdout)

    def test_nothing_at_all_is_a_usage_error_that_shows_the_help(self, spillway):
        out = spillway()
        assert (out.returncode, out.stdout) == (2, "")
        assert "Commands:" in out.stderr

    @pytest.mark.parametrize(
        ("args", "line"),
        [
            (["chekc"], 'error: no command "chekc" (did you mean "check"?) (see spillway --help)'),
            (["check", "--liv"], "error: No such option '--liv'. Did you mean '--live'? (see spillway check --help)"),
            (["init", "a", "b"], "error: Got unexpected extra argument (b) (see spillway init --help)"),
            (["check", "-c", "no\nfile"], "error: no\\nfile: there is no such file; `spillway init` writes one"),
            (["sim", "--port", "65536"], "error: Invalid value for '--port': 65536 is not in the range 0<=x<=65535."
             " (see spillway sim --help)"),
            (["sim", "--latency-s", "nan"], "error: Invalid value for --latency-s: must be a number of seconds of at "
             "least 0 (see spillway sim --help)"),
            (["sim", "--limit", "k=5"], "error: limit 'k=5': expected KEY=RPM,TPM[,WINDOW_S] (see spillway sim --help)"),
            (["sim", "--limit", "k=-1,5"], "error: limit 'k=-1,5': RPM must be a positive number, not '-1' "
             "(see spillway sim --help)"),
            (["sim", "--scenario", "none.toml"], "error: none.toml: No such file or directory (see spillway sim --help)"),
        ],
    )  # fmt: skip
    def test_a_usage_error_is_one_line_and_exit_2(self, spillway, args, line):
        out = spillway(*args)
        assert (out.returncode, out.stdout, out.stderr) == (2, "", line + "\n")


class TestInit:
    def test_what_it_writes_loads_and_checks(self, spillway, tmp_path):
        out = spillway("init")
        assert (out.returncode, out.stdout, out.stderr) == (0, "wrote spillway.toml\n", "")
        checked = spillway("check", env=KEYS)
        assert (checked.returncode, checked.stderr) == (0, "")

    def test_it_overwrites_only_with_force(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text("mine")
        out = spillway("init")
        assert (out.returncode, out.stderr) == (2, "error: spillway.toml exists already; --force overwrites it\n")
        assert (tmp_path / "spillway.toml").read_text() == "mine"
        assert spillway("init", "--force").returncode == 0
        assert "[[deployment]]" in (tmp_path / "spillway.toml").read_text()

    def test_a_folder_gets_the_usual_name_and_a_missing_one_is_an_error(self, spillway, tmp_path):
        (tmp_path / "here").mkdir()
        assert spillway("init", "here").stdout == "wrote here/spillway.toml\n"
        out = spillway("init", "nowhere/x.toml")
        assert (out.returncode, out.stderr) == (
            2,
            "error: nowhere/x.toml can't be written: No such file or directory\n",
        )


TWO = """
[defaults.runtime_config]
api_key = { from_env = "KEY" }
[[deployment]]
name = "gpt-4o-mini"
group = "small"
runtime_config.endpoint = "%(url)s/v1"
rate_limits = { requests_per_minute = 600 }
budget = { max_spend_per_day_usd = 5 }
[[deployment]]
name = "claude-haiku-4-5"
runtime_config.endpoint = "%(other)s"
retry.max_retries = 0
"""


class TestCheck:
    def test_a_good_file(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text(TWO % {"url": "http://127.0.0.1:9", "other": "http://127.0.0.1:9"})
        out = spillway("check", env={"KEY": "hunter2"})
        assert (out.returncode, out.stderr) == (0, "")
        heading, first, second, store = (re.split(r"  +", line) for line in out.stdout.splitlines())
        assert store == ["store: memory"]
        assert heading == ["name", "group", "runtime", "model", "limits", "budget", "USD per Mtok", "secret"]
        secret = "environment variable KEY: ok"
        assert first == [
            "gpt-4o-mini", "small", "openai", "gpt-4o-mini", "600 requests/min", "5.0 USD/day",
            "0.15 in, 0.6 out (genai-prices)", secret,
        ]  # fmt: skip
        price = "1 in, 5 out (genai-prices)"
        assert second == ["claude-haiku-4-5", "-", "anthropic", "claude-haiku-4-5", "-", "-", price, secret]

    def test_json_says_the_same(self, spillway, tmp_path):
        (tmp_path / "x.toml").write_text(TWO % {"url": "http://127.0.0.1:9", "other": "http://127.0.0.1:9"})
        out = spillway("check", "--json", env={"KEY": "hunter2", "SPILLWAY_CONFIG": "x.toml"})
        found = json.loads(out.stdout)
        assert (out.returncode, found["ok"], found["file"], found["problems"]) == (0, True, "x.toml", [])
        assert found["live"] is None
        assert found["deployments"][0] == {
            "name": "gpt-4o-mini",
            "group": "small",
            "runtime": "openai",
            "model": "gpt-4o-mini",
            "limits": {"requests_per_minute": 600},
            "budget": {"max_spend_per_day_usd": 5.0},
            "price": {"source": "genai-prices", "input_per_mtok_usd": 0.15, "output_per_mtok_usd": 0.6},
            "secrets": [{"place": "environment variable KEY", "state": "ok"}],
        }

    def test_no_file(self, spillway):
        out = spillway("check")
        assert (out.returncode, out.stdout) == (2, "")
        assert out.stderr == "error: no spillway.toml here and SPILLWAY_CONFIG is not set; `spillway init` writes one\n"

    def test_everything_that_is_wrong_is_listed_one_line_each(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text(
            "[[deployment]]\nname = 'gpt-4o'\nweigth = 1\nweight = 0.5\nretry = 3\n"
        )
        out = spillway("check")
        assert (out.returncode, out.stdout) == (2, "")
        assert out.stderr.splitlines() == [
            'error: spillway.toml:3: [deployment] unknown key "weigth" (did you mean "weight"?)',
            "error: spillway.toml:4: [deployment] weight: expected an integer, got a decimal number",
            "error: spillway.toml:5: [deployment] retry: expected a table, got an integer",
        ]
        as_json = json.loads(spillway("check", "--json").stdout)
        assert [f"error: {line}" for line in as_json["problems"]] == out.stderr.splitlines()
        assert as_json["ok"] is False

    def test_each_missing_secret_is_named_by_its_place(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text(
            "[gateway]\nadmin_key = { from_env = 'ADMIN' }\n"
            "[[deployment]]\nname = 'gpt-4o'\n"
            "[[deployment]]\nname = 'o1'\nruntime_config.api_key = [{ from_file = 'key' }, { from_env = 'THERE' }]\n"
        )
        out = spillway("check", env={"THERE": "hunter2"})
        assert out.returncode == 2
        assert out.stderr.splitlines() == [
            "error: spillway.toml:2: [gateway] admin_key: environment variable ADMIN is not set",
            "error: spillway.toml:7: [deployment.runtime_config] api_key[1]: "
            f"file {tmp_path}/key can't be read: No such file or directory",
            "error: spillway.toml: gpt-4o: set OPENAI_API_KEY, or [deployment.runtime_config] api_key",
        ]
        assert "environment variable OPENAI_API_KEY: missing" in out.stdout
        assert f"file {tmp_path}/key: missing, environment variable THERE: ok" in out.stdout

    def test_careless_secrets_and_doubtful_settings_are_warnings(self, spillway, tmp_path):
        (tmp_path / "key").write_text("hunter2")
        (tmp_path / "key").chmod(0o644)
        (tmp_path / "spillway.toml").write_text(
            "[[deployment]]\nname = 'gpt-4o'\nruntime_config.api_key = { inline = 'hunter2' }\n"
            "[[deployment]]\nname = 'o1'\nruntime_config.api_key = { from_file = 'key' }\nfallback = ['o1']\n"
        )
        out = spillway("check")
        assert out.returncode == 0
        assert out.stderr.splitlines() == [
            "warning: spillway.toml:3: [deployment.runtime_config] api_key: the secret stands in the file; "
            'write { from_env = "NAME" } or { from_file = "PATH" }',
            "warning: spillway.toml:6: [deployment.runtime_config] api_key: "
            f"{tmp_path}/key can be read by every user of this machine; chmod 600 it",
            "warning: spillway.toml: o1: fallback names itself",
        ]

    @pytest.mark.parametrize(
        ("extra", "line"),
        [
            ("budget.max_spend_per_day_usd = 1", "[deployment.pricing]"),
            ("http.ca_file = 'no.pem'", "http.ca_file: "),
            ("http = { http2 = true, ca_file = 'no.pem' }", "http.ca_file: "),
        ],
    )
    def test_what_would_keep_a_program_from_starting_is_found_without_sending(self, spillway, tmp_path, extra, line):
        (tmp_path / "spillway.toml").write_text(f"[[deployment]]\nname = 'x'\nruntime = 'openai'\n{extra}\n")
        out = spillway("check", env=KEYS)
        assert out.returncode == 2
        (error,) = (found for found in out.stderr.splitlines() if not found.startswith("warning: "))
        assert error.startswith("error: spillway.toml: ")
        assert line in error

    def test_no_secret_is_ever_shown(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text(
            "[[deployment]]\nname = 'gpt-4o'\nruntime_config.api_key = { inline = 'hunter2-inline' }\n"
            "[[deployment]]\nname = 'o1'\nruntime_config.api_key = { from_command = ['echo', 'hunter2-printed'] }\n"
            "[[deployment]]\nname = 'o3'\n"
        )
        for args in (["check"], ["check", "--json"], ["check", "--live"]):
            out = spillway(*args, env=KEYS | {"OPENAI_BASE_URL": "http://127.0.0.1:9"})
            assert "hunter2" not in out.stdout + out.stderr

    def test_live_asks_each_deployment_and_prints_what_it_saw(self, spillway, tmp_path):
        with simulator("--limit", "*=600,100000") as (_, url):
            (tmp_path / "spillway.toml").write_text(TWO % {"url": url, "other": url})
            out = spillway("check", "--live", env={"KEY": "k"})
            assert (out.returncode, out.stderr) == (0, "")
            first, second = (re.split(r"  +", line) for line in out.stdout.splitlines()[-2:])
            assert first[0] == "gpt-4o-mini"
            assert first[1].startswith("ok: ")
            assert float(first[2]) < 30
            assert re.fullmatch(r"\d+ in, \d+ out", first[4])
            assert float(first[5]) > 0
            assert "requests 599 of 600 left" in first[6] or "requests 598 of 600 left" in first[6]
            assert second[1].startswith("ok: ")
            with urllib.request.urlopen(f"{url}/sim/stats", timeout=10) as stats:
                assert json.load(stats)["served"] == 2

    def test_live_is_exit_1_when_one_does_not_answer(self, spillway, tmp_path):
        with simulator() as (_, url):
            (tmp_path / "spillway.toml").write_text(TWO % {"url": url, "other": "http://127.0.0.1:9"})
            out = spillway("check", "--live", "--json", env={"KEY": "k"})
        found = json.loads(out.stdout)
        assert (out.returncode, found["ok"], found["problems"]) == (1, False, [])
        assert [one["answered"] for one in found["live"]] == [True, False]
        assert found["live"][1]["said"].startswith("network_error: ")

    def test_without_live_nothing_is_sent(self, spillway, tmp_path):
        with simulator() as (_, url):
            (tmp_path / "spillway.toml").write_text(TWO % {"url": url, "other": url})
            assert spillway("check", env={"KEY": "k"}).returncode == 0
            with urllib.request.urlopen(f"{url}/sim/stats", timeout=10) as stats:
                assert json.load(stats)["asked"] == 0

    def test_a_reader_that_leaves_is_no_traceback(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text("[[deployment]]\nname = 'gpt-4o'\n")
        read, write = os.pipe()
        os.close(read)
        process = subprocess.run(
            [sys.executable, "-m", "spillway", "check"],
            stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environ(KEYS), timeout=60, check=False,
        )  # fmt: skip
        os.close(write)
        assert (process.returncode, process.stderr) == (1, "")

    @pytest.mark.parametrize(("extra", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
    def test_colours_only_on_a_terminal_that_wants_them(self, tmp_path, extra, coloured):
        (tmp_path / "spillway.toml").write_text("[[deployment]]\nname = 'gpt-4o'\n")
        parent, child = pty.openpty()
        with os.fdopen(parent, "rb", buffering=0) as terminal:
            subprocess.run(
                [sys.executable, "-m", "spillway", "check"],
                stdout=child, stderr=child, cwd=tmp_path, env=environ({"TERM": "xterm", **extra}), timeout=60, check=False,
            )  # fmt: skip
            seen = terminal.read(65536).decode()
            os.close(child)
        assert "error: " in re.sub(r"\x1b\[[0-9;]*m", "", seen)
        assert ("\x1b[31m" in seen) is coloured


class TestSim:
    def test_it_answers_and_ends_in_order_when_it_is_told_to(self):
        with simulator("--seed", "3") as (process, url):
            assert asked(url) == 200
            with urllib.request.urlopen(f"{url}/sim/stats", timeout=10) as stats:
                assert json.load(stats)["served"] == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert process.stderr.read() == ""

    def test_ctrl_c_is_130(self):
        with simulator() as (process, url):
            assert asked(url) == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
            assert "Traceback" not in process.stderr.read()

    def test_limits_and_scenarios_arrive(self, tmp_path):
        scenario = tmp_path / "s.toml"
        scenario.write_text('[[phase]]\npath = "/v1/chat/completions"\nfault = "503"\n')
        with simulator("--limit", "a=1,-", "--limit", "b=2,100000,60") as (_, url):
            assert [asked(url, key) for key in "aabbbcc"] == [200, 429, 200, 200, 429, 200, 200]
        with simulator("--scenario", str(scenario)) as (_, url):
            assert asked(url) == 503

    def test_a_port_that_is_taken_is_one_line_and_exit_1(self, spillway):
        with simulator() as (_, url):
            out = spillway("sim", "--port", url.rpartition(":")[2])
        assert (out.returncode, out.stderr.count("\n")) == (1, 1)
        assert "address already in use" in out.stderr

    def test_the_latency_it_says_is_the_simulators(self):
        option = next(option for option in commands.get_command(None, "sim").params if option.name == "latency_s")
        assert option.default == DEFAULT_LATENCY_S
