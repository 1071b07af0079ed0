"""Gateways of one store: an operator's word at one of them is everyone's, and every page shows it."""

import asyncio
import http.client
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "gateway" / "admin"))

from operated import PRICE, Operated  # noqa: E402 - found through the line above

import spillway  # noqa: E402 - after the line above
from spillway.gateway import create_app  # noqa: E402
from spillway.stores.commons import Commons  # noqa: E402
from spillway.testing import ScriptedRunner, run_virtual  # noqa: E402


class Shared(Operated):
    def __init__(self, store):
        deployment = spillway.Deployment(name="m", pricing=PRICE)
        self.cluster = spillway.Cluster([deployment], runners={"m": lambda _: ScriptedRunner()}, store=store)
        self.app = create_app(self.cluster)


def play(test):
    async def main():
        store = Commons(clock=asyncio.get_running_loop().time)
        one, other = Shared(store), Shared(store)
        async with one.cluster, other.cluster:
            for each in (one, other):
                assert (await each.chat()).status == 200
                await each.state()
            await test(one, other)

    run_virtual(main())


async def metrics(gateway):
    answer = await gateway.get("/metrics")
    return dict(re.findall(r"^spillway_breaker_(\S+) (\S+)$", answer.body.decode(), re.M))


def test_a_circuit_that_is_opened_at_one_gateway_is_open_at_the_other_until_it_is_closed_there():
    async def test(one, other):
        await one.do("m", "breaker", {"action": "open", "for_s": 60})
        await asyncio.sleep(1.1)
        seen = (await other.state())["breaker"]
        assert (seen["state"], seen["shared"], seen["opened"]) == ("OPEN", True, 1)
        assert seen["retry_after_s"] == pytest.approx(58.9, abs=0.05)
        refused = await other.chat()
        assert (refused.status, refused.headers["x-spillway-limited-by"]) == (503, "breaker")
        told = await metrics(other)
        assert float(told['state{deployment="m",entry="1",state="open"}']) == 1.0
        assert float(told['transitions_total{deployment="m",entry="1",state="open"}']) == 1.0
        assert float(told['shared{deployment="m",entry="1"}']) == 1.0
        await other.do("m", "breaker", {"action": "close"})
        await asyncio.sleep(0.3)
        assert (await one.chat()).status == 200

    play(test)


def test_the_journal_and_the_log_say_that_it_came_from_another_process(caplog):
    async def test(one, other):
        from spillway.gateway.seeing.lines import log_circuits

        stop = log_circuits(other.cluster)
        page = other.open("GET", "/admin/events")
        await asyncio.sleep(0.1)
        await one.do("m", "breaker", {"action": "open", "for_s": 60})
        await asyncio.sleep(3.0)
        said = json.dumps(page.events())
        assert "forced open, at another process" in said
        await page.leave()
        stop()
        (line,) = [record for record in caplog.records if record.message == "circuit"]
        assert (line.levelname, line.fields["reason"]) == ("WARNING", "forced_open")
        assert line.fields["node"]

    with caplog.at_level("INFO"):
        play(test)


PROJECT = """
[cluster]
name = "{name}"
store = "{store}"
state = "{state}"
[gateway]
bind = "127.0.0.1:{port}"
[[deployment]]
name = "m"
runtime = "openai"
model = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "http://127.0.0.1:9/v1"
api_key = {{ inline = "sk-test" }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        line.request("GET", "/admin/deployments/m")
        return json.loads(line.getresponse().read())
    except OSError:
        return None
    finally:
        line.close()


def until(check, within_s=30.0):
    deadline = time.monotonic() + within_s
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_the_command_opens_the_circuit_of_all_gateways_of_a_redis(shared_redis, tmp_path):
    name = shared_redis.name()
    ports, served = [], []
    try:
        for which in ("one", "other"):
            folder = tmp_path / which
            folder.mkdir()
            ports.append(free_port())
            text = PROJECT.format(name=name, store=shared_redis.url, state=folder / "spillway.db", port=ports[-1])
            (folder / "spillway.toml").write_text(text)
            argv = [sys.executable, "-m", "spillway", "serve"]
            served.append(subprocess.Popen(argv, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        for port in ports:
            until(lambda port=port: ask(port))
        argv = [sys.executable, "-m", "spillway", "breaker", "open", "m", "--for", "600"]
        subprocess.run(argv, cwd=tmp_path / "one", check=True, capture_output=True, timeout=60)
        seen = until(lambda: (b := ask(ports[1])["breaker"])["state"] == "OPEN" and b, within_s=5.0)
        assert 590 < seen["retry_after_s"] <= 600
        assert seen["shared"] is True
    finally:
        for process in served:
            process.send_signal(signal.SIGTERM)
        for process in served:
            process.wait(30.0)
