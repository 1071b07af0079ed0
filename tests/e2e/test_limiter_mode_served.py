"""A gateway whose store dies says so everywhere an operator looks, and again when it is back."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import Browser, browser_path  # noqa: E402 - found through the line above
from dashboard_rig import Page, Sim, free_port, until  # noqa: E402 - see above

PROJECT = """
[cluster]
store = "{store}"
state = ""
sync_s = 0.2
[gateway]
bind = "127.0.0.1:{port}"
[[deployment]]
name = "told"
model = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{url}/v1"
api_key = {{ inline = "sk-sim" }}
[deployment.rate_limits]
requests_per_minute = 600
[[deployment]]
name = "exact"
model = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{url}/v1"
api_key = {{ inline = "sk-sim" }}
[deployment.rate_limits]
requests_per_minute = 600
strict = true
"""


class Served:
    def __init__(self, folder, store, url):
        self.folder, port = folder, free_port()
        self.url = f"http://127.0.0.1:{port}"
        (folder / "spillway.toml").write_text(PROJECT.format(store=store, port=port, url=url))
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
    well = ["approximate", "strict"]
    until(lambda: served.modes() == well, "the store")
    assert dict(served.shown()) == {"told": "approximate", "exact": "strict"}
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
