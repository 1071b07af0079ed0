"""The report in a real browser: it draws, it fits, it can be read, and it asks nobody for anything."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "unit" / "batch"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import OVERFLOWING, TOO_FAINT, Browser, Tab, browser_path  # noqa: E402 - found through the line above
from report_runs import Clock, attempt, busy_run, failed, request, summary  # noqa: E402 - found through the line above

from spillway.batch.report import Recorder, write_report  # noqa: E402 - see above


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    running = Browser(browser_path(), tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture
def tab(browser):
    tabs = []

    def open_tab(path, **options):
        tabs.append(Tab(browser, path.as_uri(), **options))
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
