"""The page as a document: whole, escaped, self-contained, and right for runs of every kind."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from report_runs import NAMES, Clock, attempt, busy_run, failed, request, summary

from spillway.batch.report import Recorder, write_report
from spillway.batch.summary import Ending
from spillway.core.options import CircuitBreakerConfig
from spillway.remote.circuit_breaker import CircuitBreakerHandle

VOID = {"meta", "link", "br", "col"}


class Page(HTMLParser):
    """Reads a page, and fails where tags do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open = []
        self.elements = []
        self.texts = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag, class_=None):
        return [
            a for t, a in self.elements if t == tag and (class_ is None or class_ in (a.get("class") or "").split())
        ]


def page_of(tmp_path, recorder, told=None, **options):
    path = tmp_path / "report.html"
    write_report(path, recorder, told, wall=lambda: datetime(2026, 3, 1, 12, 30, tzinfo=UTC), **options)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    recorder, told = busy_run()
    return page_of(tmp_path_factory.mktemp("report"), recorder, told, max_cost_usd=3.0), recorder, told


def test_a_busy_run_has_every_plot_and_says_its_numbers(busy):
    page, recorder, told = busy
    headings = [
        h for h in ("Throughput", "Latency", "Errors", "Retries", "Circuit breakers", "Spend") if h in page.text
    ]
    assert len(headings) == 6
    assert f"{told.ok:,} of {told.lines:,} lines answered" in page.text
    assert "Complete, with" in page.text
    assert "prompts.jsonl" in page.text
    assert "2026-03-01 12:30 UTC" in page.text
    for name in NAMES:
        assert f"Latency of {name}" in page.text
        assert f"TTFT of {name}" in page.text
        assert f"Circuit breaker of {name} over time" in page.text
    codes = {code for track in recorder.tracks.values() for code in track.errors}
    assert {"rate_limited", "server_error", "timeout"} <= codes
    for code in codes:
        assert f"{code} of" in page.text
    assert "limit $3.00" in page.text


def test_every_drawing_says_what_it_shows(busy):
    page, _, _ = busy
    drawings = [a for a in page.all("svg") if a.get("role") == "img"]
    identities = {a["id"] for _, a in page.elements if "id" in a}
    assert len(drawings) > 15
    for drawing in drawings:
        assert drawing["aria-labelledby"] in identities
        assert drawing["aria-describedby"] in identities
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg") if a.get("role") != "img")
    assert len(page.all("details")) >= 7


def test_identities_occur_once(busy):
    page, _, _ = busy
    identities = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identities) == len(set(identities))


def test_a_page_refers_to_nothing_outside_itself(busy, tmp_path):
    page, _, _ = busy
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name not in {"src", "srcset", "action", "xlink:href"}, (tag, name)
            assert not name.startswith("on"), (tag, name)
            if name == "href":
                assert value == "data:,"
    recorder, told = busy_run()
    write_report(tmp_path / "r.html", recorder, told)
    text = (tmp_path / "r.html").read_text()
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    policy = next(a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")


def test_deployments_differ_in_more_than_colour(busy):
    page, _, _ = busy
    dashes = {a.get("stroke-dasharray") for a in page.all("path", "line")}
    assert len(dashes) >= 3
    states = {a["height"] for a in page.all("rect", "state")}
    assert len(states) >= 3


def test_the_same_run_is_drawn_alike(tmp_path):
    texts = []
    for _ in range(2):
        recorder, told = busy_run()
        page_of(tmp_path, recorder, told)
        texts.append((tmp_path / "report.html").read_text())
    assert texts[0] == texts[1]


def test_an_empty_run(tmp_path):
    page = page_of(tmp_path, Recorder(Clock()), summary())
    assert "There was nothing to answer" in page.text
    assert "No attempt was sent, so there is nothing to plot." in page.text
    assert not [a for a in page.all("svg") if a.get("role") == "img"]


def test_one_request(tmp_path):
    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(0.8, "a"))
    recorder.on_request(request(0.8, "a"))
    page = page_of(
        tmp_path, recorder, summary(lines=1, ok=1, written_now=1, attempts=1, cost_usd=0.00025, elapsed_s=0.8)
    )
    assert "1 of 1 line answered" in page.text
    assert "mean 1.25/s, peak 1.25/s" in page.text
    assert "p50 800 ms" in page.text
    assert "No attempt failed." in page.text
    assert "No attempt was repeated." in page.text
    assert "$0.00025" in page.text


def test_everything_in_the_first_instant(tmp_path):
    recorder = Recorder(Clock(5.0))
    for _ in range(50):
        recorder.on_attempt(attempt(5.0, "a", elapsed_s=0.0, first_content_s=0.0))
    page = page_of(tmp_path, recorder, summary(lines=50, ok=50, written_now=50, attempts=50))
    assert "50 of 50 lines answered" in page.text
    assert "nan" not in page.text.lower()


def test_all_failures(tmp_path):
    recorder = Recorder(Clock(0.0))
    for i in range(30):
        recorder.on_attempt(failed(float(i), "server_error", "a", attempt=i % 3))
    told = summary(
        ending=Ending.GAVE_UP,
        message="nothing has succeeded for 30 s",
        lines=9,
        unwritten=9,
        attempts=30,
        elapsed_s=30.0,
    )
    page = page_of(tmp_path, recorder, told)
    assert "Gave up" in page.text
    assert "exit 3" in page.text
    assert "nothing has succeeded for 30 s" in page.text
    assert "No attempt succeeded." in page.text
    assert "server_error of a over time" in page.text
    assert page.all("rect", "bad")
    assert page.all("rect", "warm")


def test_an_unknown_price_is_said_and_never_drawn_as_nought(tmp_path):
    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(1.0, "a", cost_pico=None))
    page = page_of(tmp_path, recorder, summary(lines=1, ok=1, attempts=1, cost_known=False, elapsed_s=1.0))
    assert "Cost unknown no price is known" in page.text
    assert "No price is known for a; [deployment.pricing] sets one." in page.text
    assert "Spend over time" not in page.text


def test_one_unknown_price_among_known_ones(tmp_path):
    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(1.0, "a", cost_pico=500_000_000_000))
    recorder.on_attempt(attempt(1.0, "b", cost_pico=None))
    told = summary(lines=2, ok=2, attempts=2, cost_known=False, cost_usd=0.5, elapsed_s=1.0)
    page = page_of(tmp_path, recorder, told)
    assert "≥ $0.5000" in page.text
    assert "No price is known for b;" in page.text
    assert "Spend over time" in page.text


def test_a_limit_far_above_is_told_and_not_drawn(tmp_path):
    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(1.0, "a", cost_pico=10**12))
    told = summary(lines=1, ok=1, attempts=1, cost_usd=1.0, elapsed_s=1.0)
    far = page_of(tmp_path, recorder, told, max_cost_usd=100.0)
    assert "The limit of $100.00 lies far above." in far.text
    assert not far.all("line", "cap")
    near = page_of(tmp_path, recorder, told, max_cost_usd=2.0)
    assert near.all("line", "cap")
    assert "50 % of the $2.00 limit" in near.text


def test_a_resumed_run_begins_where_earlier_processes_ended(tmp_path):
    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(1.0, "a", cost_pico=10**12))
    told = summary(lines=10, ok=10, written_now=1, attempts=1, cost_usd=4.0, elapsed_s=1.0)
    page = page_of(tmp_path, recorder, told)
    assert "9 of them on file from an earlier process" in page.text
    assert "Earlier processes of this run spent $3.00." in page.text
    assert "all $4.00" in page.text


def test_names_are_shown_and_never_obeyed(tmp_path):
    name = "<script>alert(1)</script>\"'&\u202e"
    clock = Clock(0.0)
    recorder = Recorder(clock)
    breaker = CircuitBreakerHandle(name, CircuitBreakerConfig(), clock=clock)
    recorder.watch(name, breaker)
    breaker.force_open(5)
    clock.now = 1.0
    recorder.on_attempt(attempt(1.0, name))
    recorder.on_attempt(failed(1.0, "</desc><img src=x onerror=1>", name, attempt=1))
    told = summary(
        input="<b>in\udcff.jsonl",
        output="</title><script>",
        message="<i>",
        lines=1,
        ok=1,
        attempts=2,
        elapsed_s=1.0,
        ending=Ending.INTERRUPTED,
    )
    page = page_of(tmp_path, recorder, told)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in page.text


def test_a_secret_in_a_message_is_masked(tmp_path):
    told = summary(ending=Ending.GAVE_UP, message="nobody took sk-proj-abcdef0123456789", lines=1, unwritten=1)
    page_of(tmp_path, Recorder(Clock()), told)
    assert "abcdef0123456789" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("told", [None, {}, {"lines": 3, "ok": 3, "exit_reason": "through", "seconds": 2.0}])
def test_a_summary_may_say_little_or_nothing(tmp_path, told):
    recorder = Recorder(Clock(0.0))
    for at in (0.5, 1.0, 2.0):
        recorder.on_attempt(attempt(at, "a"))
        recorder.on_request(request(at, "a"))
    page = page_of(tmp_path, recorder, told)
    assert "3 of 3 lines answered" in page.text
    assert "Complete" in page.text


def test_the_table_says_of_retries_what_the_plot_shows(tmp_path):
    recorder = Recorder(Clock(0.0))
    for i in range(5):
        recorder.on_attempt(attempt(1.0 + i, "a", attempt=int(i >= 3)))
    page = page_of(tmp_path, recorder, {"deployments": {"a": {"requests": 3, "succeeded": 3, "retried": 7777}}})
    assert "7777" not in page.text.replace(",", "")
    assert "2 attempts over" in page.text


def test_deployments_that_were_not_asked_are_named_and_not_listed(tmp_path):
    recorder = Recorder(Clock(0.0))
    recorder.on_attempt(attempt(1.0, "a"))
    told = {"deployments": {"a": {"requests": 1, "succeeded": 1}, "spare": {"requests": 0}, "full": {"refused": 4}}}
    page = page_of(tmp_path, recorder, told)
    assert "Not asked: spare." in page.text
    assert len(page.all("span", "who")) == 2


def test_many_deployments(tmp_path):
    recorder = Recorder(Clock(0.0))
    for i in range(2_000):
        recorder.on_attempt(attempt(i / 50, f"deployment-{i % 40:02d}"))
    page = page_of(tmp_path, recorder, summary(lines=2_000, ok=2_000, attempts=2_000, elapsed_s=40.0))
    styles = [a["class"] for a in page.all("svg", "swatch")]
    assert len(set(styles)) == 41
    assert (tmp_path / "report.html").stat().st_size < 2_000_000


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(self, target):
        raise OSError("the disk is full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="full"):
        write_report(path, Recorder(Clock()), None)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_writing_lets_breakers_go(tmp_path):
    clock = Clock(0.0)
    recorder = Recorder(clock)
    breaker = CircuitBreakerHandle("a", clock=clock)
    recorder.watch("a", breaker)
    page_of(tmp_path, recorder)
    breaker.force_open(1)
    assert repr(recorder.breakers["a"]) == "<BreakerTrack CLOSED opened 0 times>"
