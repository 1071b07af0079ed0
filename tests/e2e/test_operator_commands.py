"""`spillway status`, `breaker` and `rotate-credentials` against a gateway that runs."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from dashboard_rig import ADMIN, ODD, Gateway, Sim, free_port  # noqa: E402 - found through the line above


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    sim = Sim()
    running = Gateway(tmp_path_factory.mktemp("gateway"), sim.url)
    yield running
    running.stop()
    sim.close()


@pytest.fixture(scope="module", autouse=True)
def started(gateway):
    """Have it there before the first test looks at what was there."""


def spillway(*args, cwd, **environ):
    return subprocess.run(
        [sys.executable, "-m", "spillway", *args],
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environ},
    )  # fmt: skip


@pytest.fixture
def run(gateway):
    """A command in the folder of the gateway's project file, which knows where it is and its key."""
    return lambda *args: spillway(*args, cwd=gateway._folder)


def test_status_is_a_table(run, gateway):
    gateway.chat()
    ended = run("status")
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].split() == "deployment state busy queued limits used p50 p95 failed spent budget".split()
    main = next(line for line in lines if line.startswith("main"))
    assert "serving" in main
    assert "0/128" in main
    assert "req 0%" in main
    assert lines[-1].startswith("ready; last 15 minutes: ")
    assert ended.stderr == ""


def test_status_as_json_is_what_the_route_answers(run):
    told = json.loads(run("status", "--json").stdout)
    assert [d["name"] for d in told["deployments"]] == ["main", "spare", ODD]
    assert {"gateway", "keys", "at"} <= set(told)


def test_status_finds_a_gateway_by_its_url_and_the_key_by_its_variable(gateway, tmp_path):
    ended = spillway("status", "--url", gateway.url, cwd=tmp_path, SPILLWAY_ADMIN_KEY=ADMIN)
    assert ended.returncode == 0, ended.stderr
    assert "main" in ended.stdout


def test_status_watches_until_ctrl_c(gateway):
    watching = subprocess.Popen(
        [sys.executable, "-m", "spillway", "status", "--watch", "--json"],
        cwd=gateway._folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
    assert second["at"] > first["at"]
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert said.strip() == ""


def test_a_circuit_is_opened_and_closed(run, gateway):
    ended = run("breaker", "open", "main", "--for", "90")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "main: circuit opened for 90 s\n", "")
    assert "open 90 s" in run("status").stdout or "open 89 s" in run("status").stdout
    told = json.loads(run("breaker", "close", "main", "--json").stdout)
    assert told["did"] == "circuit closed"
    assert gateway.state()["breaker"]["state"] == "CLOSED"
    ended = run("breaker", "close", "main", "--for", "5")
    assert ended.stdout == "main: circuit closed and held closed for 5 s\n"


def test_a_credential_is_read_again(run):
    ended = run("rotate-credentials", "main")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "main: secret read again, session rebuilt\n", "")


def test_an_odd_name_is_reached(run):
    assert run("breaker", "close", ODD).stdout == f"{ODD}: circuit closed\n"


@pytest.mark.parametrize("command", [("breaker", "open"), ("rotate-credentials",)])
def test_an_unknown_name_names_the_nearest(run, gateway, command):
    ended = run(*command, "mian")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"error: {gateway.url}: no deployment or group 'mian' (did you mean 'main'?)\n"


@pytest.mark.parametrize("command", [("status",), ("breaker", "open", "main"), ("rotate-credentials", "main")])
def test_a_wrong_key_and_no_gateway_are_one_line(gateway, tmp_path, command):
    ended = spillway(*command, "--url", gateway.url, cwd=tmp_path, SPILLWAY_ADMIN_KEY="wrong-key-shown")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "the admin key is not valid" in ended.stderr
    assert "wrong-key-shown" not in ended.stderr
    assert ended.stderr.count("\n") == 1
    ended = spillway(*command, "--url", f"http://127.0.0.1:{free_port()}", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("error: no gateway at http://127.0.0.1:")
    assert ended.stderr.count("\n") == 1


def test_a_time_that_is_none_is_a_usage_error(run):
    for text in ("0", "-5", "soon", "inf"):
        assert run("breaker", "open", "main", "--for", text).returncode == 2, text
