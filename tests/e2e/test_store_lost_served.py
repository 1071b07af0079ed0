"""A gateway whose store dies says so of limits, budgets and circuits wherever an operator looks, until it is back."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import Browser, browser_path  # noqa: E402 - found through the line above
from dashboard_rig import Page, Sim, free_port, until  # noqa: E402 - see above

DEPLOYMENT = """
[[deployment]]
name = "{name}"
model = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{url}/v1"
api_key = {{ inline = "sk-sim" }}
[deployment.rate_limits]
requests_per_minute = 600
strict = {strict}
{more}
"""

PROJECT = """
[cluster]
store = "{store}"
state = ""
sync_s = 0.2
[gateway]
bind = "127.0.0.1:{port}"
[[gateway.keys]]
name = "team"
key = {{ inline = "sk-team" }}
max_spend_per_day_usd = 5.0
"""


def project(store, port, url):
    told = DEPLOYMENT.format(
        name="told", url=url, strict="false", more="[deployment.budget]\nmax_spend_per_day_usd = 7.0"
    )
    exact = DEPLOYMENT.format(name="exact", url=url, strict="true", more="")
    return PROJECT.format(store=store, port=port) + told + exact


class Served:
    def __init__(self, folder, store, url):
        self.folder, port = folder, free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "spillway.toml").write_text(project(store, port, url))
        self.log = (folder / "log").open("wb")
        self.process = self.run("serve", stdout=subprocess.DEVNULL, stderr=self.log, start=True)
        until(lambda: self.get("/readyz") is not None, "the gateway")

    def run(self, *args, start=False, **options):
        argv = [sys.executable, "-m", "spillway", *args]
        environ = {**os.environ, "PYTHONWARNINGS": "error"}
        if start:
            return subprocess.Popen(argv, cwd=self.folder, env=environ, **options)
        return subprocess.run(
            argv, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    def get(self, path):
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def ask(self, path, **body):
        headers = {"content-type": "application/json", "authorization": "Bearer sk-team"}
        asked = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def chat(self, model):
        status, told = self.ask("/v1/chat/completions", model=model, messages=[{"role": "user", "content": "hi"}])
        return status if status == 200 else (status, told["error"]["message"])

    def budgets(self):
        """Return how budgets are held: as the operator's door has it, and as the metrics show it."""
        told = json.loads(self.get("/admin/deployments"))
        metrics = dict(
            re.findall(r'^spillway_(\w*budget_mode){\w+="\w+",mode="(\w+)"} 1\.0', self.get("/metrics"), re.M)
        )
        door = [each["budget"]["mode"] for each in (*told["deployments"], *told["keys"]) if each["budget"]]
        return door, [metrics[name] for name in ("budget_mode", "key_budget_mode")]

    def modes(self):
        told = json.loads(self.get("/admin/deployments"))
        return [deployment["limits"]["mode"] for deployment in told["deployments"]]

    def shown(self):
        """Return the modes that the metrics show."""
        return re.findall(r'^spillway_limiter_mode{deployment="(\w+)",mode="(\w+)"} 1\.0', self.get("/metrics"), re.M)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        self.log.close()


@pytest.fixture
def served(tmp_path, redis_server):
    sim = Sim()
    running = Served(tmp_path, redis_server.url, sim.url)
    yield running
    running.close()
    sim.close()


def test_an_operator_sees_how_limits_are_held(served, redis_server, tmp_path):
    browser = Browser(browser_path(), tmp_path / "browser")
    page = Page(browser, f"{served.url}/dashboard").live()
    # A store that is so young may have forgotten what was sent before: to a strict limit it is as good as none.
    well = ["approximate", "closed"]
    until(lambda: served.modes() == well, "the store")
    assert dict(served.shown()) == {"told": "approximate", "exact": "closed"}
    page.seen(f"{page.card('told')}.querySelector('.what').textContent.includes('limits approximate')")
    assert "(share)" not in served.run("status")
    redis_server.kill()
    until(lambda: served.modes() == ["share", "closed"], "the loss")
    assert dict(served.shown()) == {"told": "share", "exact": "closed"}
    table = served.run("status")
    assert re.search(r"told .*req \d+% \(share\)", table)
    assert re.search(r"exact .*req \d+% \(closed\)", table)
    page.seen(f"{page.card('told')}.querySelector('.note').textContent.includes('keeps to its share')")
    page.seen(f"{page.card('exact')}.querySelector('.note').textContent.includes('admits nothing')")
    redis_server.start()
    until(lambda: served.modes()[0] == "approximate", "the store again")
    page.seen(f"{page.card('told')}.querySelector('.note').hidden")
    page.close()
    browser.close()
    log = (served.folder / "log").read_text()
    assert len(re.findall("limits of deployment told: share", log)) == 1
    assert len(re.findall("limits of deployment told: approximate again", log)) <= 1


def test_an_operator_sees_how_budgets_and_circuits_are_held(served, redis_server, tmp_path):
    browser = Browser(browser_path(), tmp_path / "browser")
    page = Page(browser, f"{served.url}/dashboard").live()
    until(lambda: served.chat("told") == 200, "an answer")
    assert served.ask("/admin/deployments/exact/breaker", action="open", for_s=300)[0] == 200
    note = f"{page.card('told')}.querySelector('.note')"
    pill = f"{page.card('exact')}.querySelector('.pill')"
    page.seen(f"{pill}.textContent.includes('Circuit open')")
    assert served.budgets() == (["shared"] * 2, ["shared"] * 2)
    table = served.run("status")
    assert "(alone)" not in table
    assert "(store lost)" not in table
    redis_server.kill()
    until(lambda: served.budgets() == (["store_lost"] * 2, ["store_lost"] * 2), "the loss")
    status, message = until(lambda: (said := served.chat("told")) != 200 and said, "a refusal")
    assert status == 402
    assert "the store that keeps the budget of all processes is not reached" in message
    page.seen(f"{note}.textContent.includes('the budget is closed once what was leased is spent')")
    page.seen(f"{pill}.textContent.includes('in this process alone')")
    page.seen("document.querySelector('#keys').textContent.includes('the budget is closed')")
    table = served.run("status")
    assert re.search(r"told +serving \(alone\) .*\$[\d.]+/\$7 a day \(store lost\)", table)
    assert re.search(r"exact +open \d+ s \(alone\)", table)
    for line in (
        "(alone) the store is lost, and the circuit is this process's own",
        "(share) the store is lost, and this process keeps to its share",
        "(store lost) the store is lost: what was leased from it is spent, then nothing until it answers",
        "budgets of the keys team: the store is lost",
    ):
        assert line in table
    redis_server.start()
    until(lambda: served.budgets() == (["shared"] * 2, ["shared"] * 2), "the store again")
    page.seen(f"!{note}.textContent.includes('budget') && !{pill}.textContent.includes('alone')")
    until(lambda: served.chat("told") == 200, "an answer")
    page.close()
    browser.close()
    log = (served.folder / "log").read_text()
    assert len(re.findall("budgets of deployments:told, keys:team: the store is lost", log)) == 1
