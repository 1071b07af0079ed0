"""The page of a drill, in text and in a real browser."""

import pathlib
import sys
from html.parser import HTMLParser

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "e2e"))

from browser import OVERFLOWING, TOO_FAINT, Browser, Tab, browser_path  # noqa: E402 - found through the lines above
from drilled import drilled, every_shape, scenario  # noqa: E402 - see above

from spillway.drill.report import write_report  # noqa: E402 - see above
from spillway.drill.report.page import render  # noqa: E402 - see above


def test_it_says_what_was_promised_and_measured():
    page = render(drilled(scenario(holds=False)), "2026-01-01 00:00 UTC")
    assert "<h1>1 of 2 promises held</h1>" in page
    assert "1 of 2 promises were broken" in page
    assert "312" in page and "at most 300 (limit 300)" in page
    assert "kill node 2, started again after 0.50 s" in page
    assert "All promises held" in render(drilled(), "")


def test_nothing_gets_in_as_markup():
    page = render(every_shape(), "")
    assert "<b>& odd</b>" not in page and "<i>markup</i>" not in page
    assert "&lt;b&gt;&amp; odd&lt;/b&gt;" in page


def test_ids_are_unique_and_refer_to_what_there_is():
    class Ids(HTMLParser):
        def __init__(self):
            super().__init__()
            self.ids, self.named = [], set()

        def handle_starttag(self, tag, attrs):
            for name, value in attrs:
                if name == "id":
                    self.ids.append(value)
                elif name in {"aria-labelledby", "aria-describedby"}:
                    self.named |= {value}

    ids = Ids()
    ids.feed(render(drilled(scenario(), scenario("kills")), ""))
    assert len(ids.ids) == len(set(ids.ids))
    assert ids.named <= set(ids.ids)


def test_it_is_written_as_a_whole(tmp_path):
    write_report(tmp_path / "drill.html", drilled())
    assert (tmp_path / "drill.html").read_text().endswith("</html>\n")
    assert [path.name for path in tmp_path.iterdir()] == ["drill.html"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    running = Browser(browser_path(), tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (768, False), (360, False), (360, True)])
def test_it_fits_and_can_be_read(browser, tmp_path, width, dark):
    write_report(tmp_path / "drill.html", every_shape())
    tab = Tab(browser, (tmp_path / "drill.html").as_uri(), width=width, dark=dark)
    try:
        assert tab.ask(OVERFLOWING) == {"page": 0, "out": []}
        found = tab.ask(TOO_FAINT)
        assert found["looked"] > 50 and found["faint"] == []
        assert tab.complaints() == []
        assert [url for url in tab.requests() if not url.startswith(("file:", "data:"))] == []
        tall = tab.ask("[...document.querySelectorAll('.area > svg')].map((e) => e.getBoundingClientRect().height)")
        assert tall and min(tall) > 20
    finally:
        tab.close()
