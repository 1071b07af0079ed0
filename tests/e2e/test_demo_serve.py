"""`spillway demo --serve`: the dashboard on providers that can be broken and mended, until Ctrl-C."""

import json
import pathlib
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import Browser, browser_path  # noqa: E402 - found through the line above
from dashboard_rig import Page, free_port, until  # noqa: E402 - see above

ONLY_SERVE = "import sys; from spillway.cli.demo_serve import serve, check_port; from spillway.cli.output import say; sys.exit(serve(check_port(0), say))"
PATIENCE_S = 60.0


class Demo:
    """A process that says where its dashboard is."""

    def __init__(self, *argv):
        self.process = subprocess.Popen(
            [sys.executable, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.printed = []
        for line in self.process.stdout:
            self.printed.append(line)
            if line.startswith("dashboard: "):
                break
        else:
            pytest.fail(self.process.stderr.read())
        self.page = line.split()[1]
        self.url = self.page.removesuffix("/dashboard")

    def state(self):
        with urllib.request.urlopen(f"{self.url}/admin/deployments") as answer:
            return json.load(answer)

    def circuits(self):
        return {d["name"]: d["breaker"]["state"] for d in self.state()["deployments"]}

    def end(self, number):
        if self.process.poll() is None:
            self.process.send_signal(number)
        rest, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, rest, said


@pytest.fixture
def demo():
    running = Demo("-W", "error", "-c", ONLY_SERVE)
    yield running
    running.end(signal.SIGKILL)


def test_a_provider_is_broken_and_mended_by_a_button(demo, tmp_path):
    browser = Browser(browser_path(), tmp_path)
    try:
        page = Page(browser, demo.page).live()
        page.seen("document.querySelectorAll('#requests .more').length > 5")
        page.seen("document.querySelectorAll('#demo-buttons button').length === 3")
        press = (
            "[...document.querySelectorAll('#demo-buttons button')].find((b) => b.textContent === '{} openai').click()"
        )
        page.ask(press.format("Break"))
        until(lambda: demo.circuits()["gpt-4o-mini"] != "CLOSED")
        page.seen("/Circuit open|Probing/.test(document.querySelector('#deployments article').textContent)")
        page.seen("[...document.querySelectorAll('#requests .out')].some((e) => e.textContent === 'ok, fell back')")
        assert (
            page.ask("document.querySelector('#demo-buttons [data-name=openai]').getAttribute('aria-pressed')")
            == "true"
        )
        page.ask(press.format("Mend"))
        until(lambda: demo.circuits()["gpt-4o-mini"] == "CLOSED")
        page.seen("/provider openai mended/.test(document.getElementById('journal').textContent)")
        assert page.complaints() == []
        page.close()
    finally:
        browser.close()


def test_it_ends_in_order_at_ctrl_c_while_somebody_looks(demo):
    stream = urllib.request.urlopen(f"{demo.url}/admin/events")
    assert stream.readline() == b"event: hello\n"
    code, _, said = demo.end(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in said
    assert "Error" not in said
    assert b"event: bye" in stream.read()
    stream.close()


def test_sigterm_ends_it_well(demo):
    assert demo.end(signal.SIGTERM)[0] == 0


def test_a_wrong_provider_names_the_nearest(demo):
    request = urllib.request.Request(
        f"{demo.url}/admin/demo", b'{"provider": "opena"}', {"content-type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert 'did you mean \\"openai\\"?' in caught.value.read().decode()
    caught.value.close()


def test_the_command_plays_and_then_serves():
    demo = Demo("-m", "spillway", "demo", "--serve", "--port", "0")
    try:
        assert "300 of 300 prompts answered exactly once\n" in demo.printed
        assert {d["name"] for d in demo.state()["deployments"]} == {
            "gpt-4o-mini",
            "claude-haiku-4-5",
            "gemini-2.5-flash",
        }
        until(lambda: demo.state()["gateway"]["last_15_min"]["ok"] > 3)
    finally:
        code, _, said = demo.end(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in said


def test_a_port_that_is_taken_is_said_before_anything_is_played():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "spillway", "demo", "--serve", "--port", str(port)],
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == f"error: --port {port}: Address already in use; --port 0 picks a free one\n"


def test_without_the_extra_it_says_which():
    code = (
        "import sys; sys.modules['granian'] = None; from spillway.cli.main import main; main(['demo', '--serve', '--port', '%d'])"
        % free_port()
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 2
    assert "the extra gateway brings it: pip install 'spillway[gateway]'" in ended.stderr
