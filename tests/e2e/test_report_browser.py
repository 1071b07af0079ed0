"""The report in a real browser: it draws, it fits, it can be read, and it asks nobody for anything."""

import fcntl
import itertools
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "unit" / "batch"))

from report_runs import Clock, attempt, busy_run, failed, request, summary  # noqa: E402 - found through the line above

from spillway.batch.report import Recorder, write_report  # noqa: E402 - see above

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 60.0


def browser_path():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = f"no browser is installed (looked for {', '.join(BROWSERS)}): apt-get install -y chromium"
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(message)
        pytest.skip(message)
    return found


class Browser:
    """A headless browser that is spoken to over two pipes."""

    def __init__(self, path, home):
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in (to_read, from_write)]
        os.close(to_read)
        os.close(from_write)

        def place():
            os.dup2(theirs[0], 3)
            os.dup2(theirs[1], 4)

        self.process = subprocess.Popen(
            [
                path,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                f"--user-data-dir={home}",
                "--remote-debugging-pipe",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=place,
        )
        for fd in theirs:
            os.close(fd)
        self._out, self._in = to_write, from_read
        self._numbers = itertools.count(1)
        self._rest = b""
        self.events = []

    def call(self, method, session=None, **params):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method, session):
        for event in self.events:
            if event.get("method") == method and event.get("sessionId") == session:
                return
        while True:
            event = self._next()
            self.events.append(event)
            if event.get("method") == method and event.get("sessionId") == session:
                return

    def _next(self):
        deadline = time.monotonic() + PATIENCE_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser is silent"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        line, self._rest = self._rest.split(b"\0", 1)
        return json.loads(line)

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(20)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait(20)
        finally:
            os.close(self._out)
            os.close(self._in)


class Tab:
    """One page in the browser."""

    def __init__(self, browser, path, *, width=1280, height=900, dark=False, scripts=True, media=""):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.target = target
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url=path.as_uri())
        browser.wait_for("Page.loadEventFired", self.session)

    def call(self, method, **params):
        return self.browser.call(method, self.session, **params)

    def ask(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def complaints(self):
        """What the browser found wrong: exceptions, errors and warnings of the console, refused resources."""
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
                found.append(params["args"])
            elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
                found.append(params["entry"])
        return found

    def requests(self):
        return [
            e["params"]["request"]["url"]
            for e in self.browser.events
            if e.get("method") == "Network.requestWillBeSent" and e.get("sessionId") == self.session
        ]

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    running = Browser(browser_path(), tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def tab(browser):
    tabs = []

    def open_tab(path, **options):
        tabs.append(Tab(browser, path, **options))
        return tabs[-1]

    yield open_tab
    for each in tabs:
        each.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports of runs of every kind."""
    home = tmp_path_factory.mktemp("reports")

    def written(name, recorder, told, **options):
        path = home / f"{name}.html"
        write_report(path, recorder, told, **options)
        return path

    recorder, told = busy_run()
    found = {"busy": written("busy", recorder, told, max_cost_usd=3.0)}
    found["empty"] = written("empty", Recorder(Clock()), summary())

    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(0.8, "a"))
    recorder.on_request(request(0.8, "a"))
    found["one"] = written("one", recorder, summary(lines=1, ok=1, attempts=1, elapsed_s=0.8, cost_usd=0.00025))

    recorder = Recorder(Clock(0.0))
    names = ["<script>alert(1)</script>", "x" * 90, "a-deployment-with-a-name-of-many-words-indeed", "b"]
    for i in range(4_000):
        name = names[i % 4]
        if i % 9:
            recorder.on_attempt(
                attempt(i * 30.0, name, elapsed_s=0.01 + (i % 500) ** 2 / 100, cost_pico=None if i % 4 == 3 else 10**13)
            )
        else:
            recorder.on_attempt(failed(i * 30.0, f"a_rather_long_code_of_an_error_{i % 6}", name, attempt=i % 4))
    told = summary(
        lines=123_456_789,
        ok=123_000_000,
        failed=400_000,
        errors={"bad_request": 400_000},
        unwritten=56_789,
        attempts=987_654_321,
        retried=1_234_567,
        input_tokens=98_765_432_101,
        output_tokens=12_345_678_901,
        cost_usd=1_234_567.89,
        cost_known=False,
        elapsed_s=120_000.0,
        input="/data/" + "a-very-long-directory/" * 8 + "prompts.jsonl.gz",
        message="word " * 60,
    )
    found["large"] = written("large", recorder, told)
    return found


OVERFLOWING = """
(() => {
  const wide = document.documentElement.clientWidth;
  const scrolls = (e) => { for (; e; e = e.parentElement) if (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX)) return true; return false; };
  const out = [...document.querySelectorAll("main *")].filter((e) => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && (box.right > wide + 1 || box.left < -1) && !e.closest("svg") && !scrolls(e.parentElement);
  }).map((e) => `${e.tagName}.${e.className} ${e.textContent.slice(0, 40)}`);
  return {page: document.documentElement.scrollWidth - wide, out: out.slice(0, 5)};
})()
"""

TOO_FAINT = """
(() => {
  const rgba = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => { const f = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const behind = (e) => {
    if (e.matches(".state-word.open, .state-word.half_open"))
      return rgba(getComputedStyle(document.querySelector(".state." + e.classList[1])).fill);
    for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; }
    return [255, 255, 255, 1];
  };
  const faint = [];
  let looked = 0;
  for (const e of document.querySelectorAll("body *:not(svg *):not(script)")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length) continue;
    looked++;
    const r = ratio(rgba(getComputedStyle(e).color), behind(e));
    if (r < 4.5) faint.push(`${r.toFixed(2)} ${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return {looked, faint};
})()
"""

SEEN = """
(() => {
  const seen = (s) => [...document.querySelectorAll(s)].filter((e) => { const b = e.getBoundingClientRect(); return b.width > 0 && b.height > 0; }).length;
  return {
    lines: seen(".chart path.line"), bars: seen(".panel rect.bar"), marks: seen(".mark-row span"), bad: seen("rect.bad"),
    retried: seen("rect.warm"), open: seen("rect.state.open"), probes: seen("rect.state.half_open"), cap: seen(".cap-label"),
  };
})()
"""


@pytest.mark.parametrize("kind", ["busy", "empty", "one", "large"])
def test_the_browser_has_no_complaint_and_asks_nobody(pages, tab, kind):
    page = tab(pages[kind])
    assert page.complaints() == []
    assert page.requests() == [pages[kind].as_uri()]
    assert page.ask("document.querySelectorAll('button.theme').length") == 1
    assert page.ask("document.querySelector('h1').textContent")


def test_every_plot_has_marks(pages, tab):
    seen = tab(pages["busy"]).ask(SEEN)
    # Three charts of throughput and one of spend, each with three deployments and their sum.
    assert seen["lines"] == 16
    assert seen["bars"] > 60
    assert seen["marks"] == 18
    assert seen["bad"] > 20
    assert seen["retried"] > 20
    assert seen["open"] >= 2
    assert seen["probes"] >= 1
    assert seen["cap"] == 1


@pytest.mark.parametrize("width", [360, 414, 700, 1024, 1280, 1600])
@pytest.mark.parametrize("kind", ["busy", "empty", "one", "large"])
def test_nothing_sticks_out(pages, tab, kind, width):
    found = tab(pages[kind], width=width).ask(OVERFLOWING)
    assert found == {"page": 0, "out": []}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["busy", "large"])
def test_all_text_has_contrast(pages, tab, kind, dark):
    page = tab(pages[kind], dark=dark)
    background = page.ask("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(14, 19, 24)" if dark else "rgb(245, 246, 248)")
    page.ask("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    found = page.ask(TOO_FAINT)
    assert found["looked"] > 100
    assert found["faint"] == []


def test_the_theme_can_be_switched(pages, tab):
    page = tab(pages["one"])
    page.ask("document.querySelector('.theme').click()")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(14, 19, 24)"
    page.ask("document.querySelector('.theme').click()")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(245, 246, 248)"


def test_pointing_at_a_plot_says_its_numbers(pages, tab):
    page = tab(pages["busy"], height=6000)
    place = page.ask(
        "(() => { const b = document.querySelectorAll('.chart .hit')[40].getBoundingClientRect();"
        "return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", **place)
    assert page.ask("document.querySelector('.tip').hidden") is False
    said = page.ask("document.querySelector('.tip').textContent")
    assert "all: " in said
    assert "gpt-4o-mini: " in said
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    assert page.ask("document.querySelector('.tip').hidden") is True


def test_without_scripts_everything_is_there(pages, tab):
    page = tab(pages["busy"], scripts=False)
    assert page.ask("document.querySelectorAll('button.theme').length") == 0
    assert page.ask("document.querySelectorAll('.hit > title').length") > 100
    assert page.ask(SEEN)["lines"] == 16


def test_a_name_that_is_markup_is_text(pages, tab):
    page = tab(pages["large"])
    assert page.ask("document.scripts.length") == 1
    assert page.ask("[...document.querySelectorAll('.who')].some((e) => e.textContent === '<script>alert(1)</script>')")


def test_it_prints_on_white_and_fits_the_paper(pages, tab):
    page = tab(pages["busy"], width=720, dark=True, media="print")
    assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.ask("getComputedStyle(document.querySelector('.theme')).display") == "none"
    assert page.ask(OVERFLOWING) == {"page": 0, "out": []}
    assert len(page.call("Page.printToPDF", printBackground=True)["data"]) > 10_000
