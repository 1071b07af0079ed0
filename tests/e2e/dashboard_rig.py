"""A gateway as a process before a simulator, a browser tab on its dashboard, and callers."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

from browser import Tab

PATIENCE_S = 30.0
ADMIN = "the-admin-key-of-this-test"
ODD = '<b>odd</b> & "name"/x'

PROJECT = """
[gateway]
bind = "127.0.0.1:{port}"
{admin}
[[gateway.keys]]
name = "team-a"
key = {{ inline = "sk-team-a" }}
requests_per_minute = 1000
max_spend_per_day_usd = 5.0
{deployments}
"""
DEPLOYMENT = """
[[deployment]]
name = {name}
model = "gpt-4o-mini"
runtime = "openai"
{more}
[deployment.runtime_config]
endpoint = "{url}/v1"
api_key = {{ inline = "sk-test" }}
[deployment.rate_limits]
requests_per_minute = 6000
[deployment.pricing]
input_per_mtok_usd = 1.0
output_per_mtok_usd = 2.0
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(check, what="it"):
    """Return what `check` returns once that is true."""
    end = time.monotonic() + PATIENCE_S
    while not (found := check()):
        assert time.monotonic() < end, f"{what} did not come within {PATIENCE_S:g} s"
        time.sleep(0.05)
    return found


class Sim:
    """`spillway sim`."""

    def __init__(self, *options):
        argv = [sys.executable, "-m", "spillway", "sim", "--port", "0", *options]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().split()[-1]

    def close(self):
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


class Gateway:
    """`spillway serve`, and who speaks with it."""

    def __init__(self, folder, url, *, admin=True):
        self.port, self._folder = free_port(), folder
        rows = [DEPLOYMENT.format(name=json.dumps(name), url=url, more=more) for name, more in (
            ("main", 'fallback = ["spare"]'), ("spare", ""), (ODD, ""),
        )]  # fmt: skip
        key = f'admin_key = {{ inline = "{ADMIN}" }}' if admin else ""
        text = PROJECT.format(port=self.port, admin=key, deployments="".join(rows))
        (folder / "spillway.toml").write_text(text)
        self._headers = {"authorization": f"Bearer {ADMIN}"} if admin else {}
        self.process = None
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def page(self):
        return f"{self.url}/dashboard"

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spillway", "serve"],
            cwd=self._folder,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        until(self._listens, "the gateway")

    def _listens(self):
        assert self.process.poll() is None, self.process.stderr.read().decode()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        self.process.stderr.close()

    def ask(self, method, path, body=None, headers=None):
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            told = {**self._headers, "content-type": "application/json", **(headers or {})}
            line.request(method, path, None if body is None else json.dumps(body), told)
            answer = line.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            line.close()

    def chat(self, model="main"):
        body = {"model": model, "messages": [{"role": "user", "content": "say hello"}], "max_tokens": 20}
        return self.ask("POST", "/v1/chat/completions", body, {"authorization": "Bearer sk-team-a"})

    def state(self, name="main"):
        told = self.ask("GET", "/admin/deployments")[1]
        return next(d for d in told["deployments"] if d["name"] == name)


class Page(Tab):
    """The dashboard in a tab."""

    def seen(self, expression):
        """Wait until an expression is true in the page, which may not have all its parts before."""
        return until(
            lambda: self.ask(f"(() => {{ try {{ return {expression} }} catch {{ return false }} }})()"), expression
        )

    def unlocked(self):
        """Show the admin key, and wait for the board."""
        self.seen("!document.getElementById('key-form').hidden")
        self.ask(f"document.getElementById('key').value = '{ADMIN}'")
        self.ask("document.querySelector('#key-form button').click()")
        return self.live()

    def live(self):
        self.seen("document.getElementById('link-says').textContent === 'Live'")
        self.seen("document.querySelectorAll('#deployments article').length > 0")
        return self

    def text(self, selector):
        return self.ask(f"document.querySelector({json.dumps(selector)}).textContent")

    def card(self, name):
        return f"[...document.querySelectorAll('#deployments article')].find((a) => a.querySelector('h3').textContent === {json.dumps(name)})"

    def press_in(self, name, word):
        """Click the button of a card that says `word`."""
        self.ask(
            f"[...{self.card(name)}.querySelectorAll('button')].find((b) => b.textContent === {json.dumps(word)}).click()"
        )
        self.seen("document.getElementById('ask').open")

    def confirm(self, **fields):
        for field, value in fields.items():
            self.ask(f"document.querySelector('#ask-fields [name={field}]').value = {json.dumps(value)}")
        self.ask("document.getElementById('ask-yes').click()")

    def said(self):
        return self.seen("!document.getElementById('said').hidden && document.getElementById('said').textContent")

    def key(self, key, code=None, *, shift=False):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39, "End": 35, " ": 32}
        more = {"text": "\r"} if key == "Enter" else {"text": " "} if key == " " else {}
        told = {"key": key, "code": code or key, "windowsVirtualKeyCode": codes[key], "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", **told, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def focused(self):
        return self.ask(
            "(() => { const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.textContent.slice(0, 40); })()"
        )
