"""The dashboard in a real browser: it shows what happens while it happens, and its buttons do what they say."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import OVERFLOWING, TOO_FAINT, Browser, browser_path  # noqa: E402 - found through the line above
from dashboard_rig import ADMIN, ODD, Gateway, Page, Sim, until  # noqa: E402 - see above


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    running = Browser(browser_path(), tmp_path_factory.mktemp("browser"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def sim():
    running = Sim("--latency-s", "0.02")
    yield running
    running.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, sim):
    running = Gateway(tmp_path_factory.mktemp("gateway"), sim.url)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def open_gateway(tmp_path_factory, sim):
    """Without an admin key: open to its own machine."""
    running = Gateway(tmp_path_factory.mktemp("open"), sim.url, admin=False)
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def started(browser, sim, gateway, open_gateway):
    """Have all there before the first test looks at what was there."""


@pytest.fixture
def tab(browser):
    pages = []

    def open_page(url, **options):
        pages.append(Page(browser, url, **options))
        return pages[-1]

    yield open_page
    for each in pages:
        each.close()


def test_it_asks_for_the_key_and_keeps_it_in_this_tab_only(gateway, tab):
    page = tab(gateway.page)
    page.seen("!document.getElementById('key-form').hidden")
    assert page.ask("document.getElementById('board').hidden") is True
    assert page.focused() == "key"
    assert page.ask("document.getElementById('key').type") == "password"
    page.ask("document.getElementById('key').value = 'wrong'; document.querySelector('#key-form button').click()")
    page.seen("document.getElementById('key-wrong').textContent === 'This key is not valid.'")
    page.unlocked()
    assert page.ask("document.getElementById('key-form').hidden") is True
    assert page.ask("sessionStorage.getItem('spillway-admin-key')") == ADMIN
    assert page.ask("[localStorage.length, document.cookie, location.search, location.hash]") == [0, "", "", ""]
    assert ADMIN not in page.ask("document.documentElement.outerHTML")
    page.reload()
    page.live()
    page.ask("document.getElementById('forget').click()")
    page.seen("document.getElementById('board').hidden")
    assert page.ask("sessionStorage.getItem('spillway-admin-key')") is None


def test_where_no_key_is_needed_it_asks_for_none_and_the_browser_has_no_complaint(open_gateway, tab):
    page = tab(open_gateway.page).live()
    assert page.ask("document.getElementById('key-form').hidden") is True
    page.seen("document.getElementById('t-open').textContent === 'closed'")
    assert page.complaints() == []
    assert {
        url.removeprefix(open_gateway.url).split("?")[0] for url in page.requests() if not url.startswith("data:")
    } == {
        "/dashboard",
        "/admin/events",
    }


def test_what_happens_is_shown_while_it_happens(gateway, tab):
    page = tab(gateway.page).unlocked()
    before = page.ask("document.querySelectorAll('#requests .more').length")
    assert gateway.chat()[0] == 200
    assert gateway.chat("no-such-model")[0] == 404
    page.seen(f"document.querySelectorAll('#requests .more').length >= {before + 2}")
    rows = page.ask("[...document.querySelectorAll('#requests tr')].slice(0, 2).map((r) => r.textContent)")
    assert "model not found" in rows[0]
    assert "team-a" in rows[1]
    page.seen(f"/[1-9]/.test({page.card('main')}.querySelector('.stats dd').textContent)")
    page.seen("/of 1,000/.test(document.getElementById('keys').textContent)")
    page.seen("document.querySelector('#plot-rate .b-ok').getAttribute('d').length > 0")
    assert page.ask("document.querySelector('#plot-latency .l-p95').getAttribute('d')")
    assert "Now" in page.ask("document.getElementById('plot-rate').getAttribute('aria-label')")
    page.ask("document.querySelectorAll('#requests .more')[1].click()")
    inside = page.text("#requests .inside")
    assert "chat" in inside
    assert "1.mainok" in inside
    page.ask("document.querySelector('#numbers summary').click()")
    page.seen("document.querySelectorAll('#numbers-rows tr').length > 0")


def test_history_is_there_after_the_page_is_loaded_again(gateway, tab):
    gateway.chat()
    page = tab(gateway.page).unlocked()
    page.seen("document.querySelector('#plot-rate .b-ok').getAttribute('d').length > 0")
    page.reload()
    page.live()
    page.seen("document.querySelector('#plot-rate .b-ok').getAttribute('d').length > 0")
    assert page.ask("document.querySelectorAll('#requests .more').length") > 0


def test_requests_are_filtered_and_the_list_can_be_held(gateway, tab):
    gateway.chat()
    gateway.chat("no-such-model")
    page = tab(gateway.page).unlocked()
    page.seen("document.querySelectorAll('#requests .more').length >= 2")
    page.ask(
        "document.getElementById('kind').value = 'refused'; document.getElementById('kind').dispatchEvent(new Event('change'))"
    )
    shown = page.ask("[...document.querySelectorAll('#requests .out')].map((e) => e.textContent)")
    assert shown
    assert set(shown) == {"model not found"}
    page.ask(
        "document.getElementById('kind').value = ''; const f = document.getElementById('find'); f.value = 'nobody-like-that'; f.dispatchEvent(new Event('input'))"
    )
    assert page.ask("document.querySelectorAll('#requests tr').length") == 0
    assert "None of the last requests" in page.text("#requests-none")
    page.ask(
        "document.getElementById('find').value = ''; document.getElementById('find').dispatchEvent(new Event('input'))"
    )
    page.ask("document.getElementById('hold').click()")
    count = page.ask("document.querySelectorAll('#requests .more').length")
    gateway.chat()
    page.seen("/ 1 new/.test(document.getElementById('found').textContent)")
    assert page.ask("document.querySelectorAll('#requests .more').length") == count
    page.ask("document.getElementById('hold').click()")
    page.seen("!/new/.test(document.getElementById('found').textContent)")


def test_draining_and_resuming(gateway, tab):
    page = tab(gateway.page).unlocked()
    page.press_in("main", "Drain")
    assert page.text("#ask-title") == "Drain main?"
    page.confirm()
    assert page.said().startswith("main: taken out of service")
    page.seen(f"/Out of service/.test({page.card('main')}.textContent)")
    assert gateway.state()["in_service"] is False
    page.seen("/taken out of service/.test(document.getElementById('journal').textContent)")
    page.press_in("main", "Resume")
    page.confirm()
    page.seen(f"/Serving/.test({page.card('main')}.textContent)")
    assert gateway.state()["in_service"] is True


def test_opening_and_closing_a_circuit(gateway, tab):
    page = tab(gateway.page).unlocked()
    page.press_in("spare", "Open circuit")
    page.confirm(for_s="120")
    page.seen(f"/Circuit open, (2:00 min|1:5)/.test({page.card('spare')}.textContent)")
    assert gateway.state("spare")["breaker"]["state"] == "OPEN"
    page.seen("document.title === '(1) Spillway'")
    page.press_in("spare", "Close circuit")
    page.confirm()
    page.seen(f"/Serving/.test({page.card('spare')}.textContent)")
    assert gateway.state("spare")["breaker"]["state"] == "CLOSED"


def test_setting_limits_for_an_incident_and_back(gateway, tab):
    page = tab(gateway.page).unlocked()
    page.press_in("main", "Limits")
    page.confirm(for_s="")
    page.seen("!document.getElementById('ask-wrong').hidden")
    assert "no limit is named" in page.text("#ask-wrong")
    assert page.ask("document.getElementById('ask').open") is True
    page.confirm(requests_per_minute="7000", for_s="600")
    assert "Above what the file says: requests per minute." in page.said()
    page.seen(f"/not those of the file, for (10:00|9:5). min more/.test({page.card('main')}.textContent)")
    assert gateway.state()["limits"]["windows"][0]["most"] == 7000
    page.press_in("main", "Limits")
    assert page.ask("document.querySelector('#ask-fields [name=requests_per_minute]').value") == "7000"
    page.ask("document.getElementById('ask-extra').click()")
    until(lambda: gateway.state()["limits"]["windows"][0]["most"] == 6000)
    page.seen(f"!/not those of the file/.test({page.card('main')}.textContent)")


def test_rebuilding_a_session(gateway, tab):
    page = tab(gateway.page).unlocked()
    page.press_in("spare", "Rebuild session")
    page.confirm()
    assert page.said() == "spare: secret read again, session rebuilt."


def test_a_name_that_is_markup_is_text_and_can_be_operated(gateway, tab):
    page = tab(gateway.page).unlocked()
    assert page.ask(f"{page.card(ODD)}.querySelector('b') === null")
    page.press_in(ODD, "Drain")
    page.confirm()
    until(lambda: gateway.state(ODD)["in_service"] is False)
    page.seen(f"[...{page.card(ODD)}.querySelectorAll('button')].some((b) => b.textContent === 'Resume')")
    page.press_in(ODD, "Resume")
    page.confirm()
    until(lambda: gateway.state(ODD)["in_service"])


def test_a_gateway_that_goes_and_comes_back(tmp_path, browser, sim, tab):
    gateway = Gateway(tmp_path, sim.url)
    try:
        page = tab(gateway.page).unlocked()
        gateway.stop()
        page.seen("document.getElementById('link-says').textContent === 'Connection lost'")
        assert page.ask("document.getElementById('board').classList.contains('stale')")
        page.seen("/next try in/.test(document.getElementById('link-more').textContent)")
        assert page.ask("document.getElementById('again').hidden") is False
        page.press_in("main", "Drain")
        page.confirm()
        page.seen("/can't be reached/.test(document.getElementById('ask-wrong').textContent)")
        page.ask("document.getElementById('ask-no').click()")
        gateway.start()
        page.ask("document.getElementById('again').click()")
        page.live()
        assert page.ask("document.getElementById('board').classList.contains('stale')") is False
    finally:
        gateway.stop()


# How it looks and how it is used.


@pytest.mark.parametrize("width", [360, 414, 700, 1024, 1440])
def test_nothing_sticks_out(gateway, tab, width):
    gateway.chat()
    page = tab(gateway.page, width=width).unlocked()
    page.seen("document.querySelectorAll('#requests .more').length > 0")
    page.ask("document.querySelector('#requests .more').click()")
    assert page.ask(OVERFLOWING) == {"page": 0, "out": []}
    page.press_in("main", "Limits")
    assert page.ask("document.getElementById('ask').getBoundingClientRect().right") <= width
    assert page.ask(OVERFLOWING)["page"] == 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_has_contrast(gateway, tab, dark):
    page = tab(gateway.page, dark=dark).unlocked()
    assert page.ask("getComputedStyle(document.body).backgroundColor") == (
        "rgb(14, 19, 24)" if dark else "rgb(245, 246, 248)"
    )
    found = page.ask(TOO_FAINT)
    assert found["looked"] > 100
    assert found["faint"] == []
    page.ask("document.getElementById('theme').click()")
    assert page.ask("getComputedStyle(document.body).backgroundColor") != (
        "rgb(14, 19, 24)" if dark else "rgb(245, 246, 248)"
    )
    assert page.ask(TOO_FAINT)["faint"] == []


def test_it_can_be_used_without_a_mouse(gateway, tab):
    page = tab(gateway.page).unlocked()
    assert page.focused() == "main"
    page.reload()
    page.live()
    page.key("Tab")
    assert page.focused() == "Skip to the content"
    assert page.ask("document.activeElement.getBoundingClientRect().top") >= 0
    page.key("Enter")
    assert page.focused() == "main"
    passed = []
    for _ in range(60):
        page.key("Tab")
        passed.append(page.focused())
        assert page.ask("document.activeElement === document.body || document.activeElement.matches(':focus-visible')")
        if passed[-1] == "Drain main":
            break
    assert ["of", "plot-rate", "plot-latency", "plot-errors"] == [
        p for p in passed if p in {"of", "plot-rate", "plot-latency", "plot-errors"}
    ]
    assert passed[-1] == "Drain main"
    page.key("Enter")
    page.seen("document.getElementById('ask').open")
    for _ in range(8):
        page.key("Tab")
        assert page.ask(
            "document.getElementById('ask').contains(document.activeElement) || document.activeElement === document.body"
        )
    page.key("Escape")
    page.seen("!document.getElementById('ask').open")
    assert page.focused() == "Drain main"
    page.key("Tab", shift=True)
    assert page.focused() == "Open the circuit of main"


def test_a_plot_is_read_by_keys(gateway, tab):
    gateway.chat()
    page = tab(gateway.page).unlocked()
    page.ask("document.getElementById('plot-rate').focus()")
    page.key("End")
    page.seen("!document.getElementById('tip').hidden")
    assert "a second" in page.text("#tip")
    newest = page.text("#tip")
    page.key("ArrowLeft")
    assert page.text("#tip").split("\n")[0] != newest.split("\n")[0]
    assert page.text("#tip").split("\n")[0] in page.ask(
        "document.getElementById('plot-rate').getAttribute('aria-label')"
    )
    page.key("Escape")
    assert page.ask("document.getElementById('tip').hidden") is True


def test_it_has_what_a_screen_reader_needs(gateway, tab):
    page = tab(gateway.page).unlocked()
    assert page.ask(
        "[document.querySelectorAll('header').length, document.querySelectorAll('main').length, document.querySelectorAll('footer').length]"
    ) == [1, 1, 1]
    assert page.ask("document.documentElement.lang") == "en"
    assert page.ask(
        "[...document.querySelectorAll('table')].every((t) => t.caption && [...t.tHead.rows[0].cells].every((c) => c.scope === 'col'))"
    )
    assert page.ask(
        "[...document.querySelectorAll('section')].every((s) => document.getElementById(s.getAttribute('aria-labelledby')))"
    )
    assert page.ask(
        "[...document.querySelectorAll('[role=meter]')].every((m) => m.getAttribute('aria-valuetext') && m.getAttribute('aria-label'))"
    )
    assert page.ask("[...document.querySelectorAll('[role=img]')].every((m) => m.getAttribute('aria-label'))")
    assert page.ask(
        "[document.getElementById('link'), document.getElementById('said')].every((e) => e.getAttribute('role') === 'status')"
    )
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    nameless = [
        node for node in tree
        if not node.get("ignored") and node["role"]["value"] in {"button", "textbox", "searchbox", "combobox", "spinbutton", "checkbox", "link"}
        and not node.get("name", {}).get("value")
    ]  # fmt: skip
    assert nameless == []
    ids = page.ask("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert page.ask('document.querySelectorAll(\'[tabindex]:not([tabindex="0"]):not([tabindex="-1"])\').length') == 0


def test_motion_is_left_out_where_it_is_not_wanted(gateway, tab):
    page = tab(gateway.page).unlocked()
    assert page.ask("getComputedStyle(document.querySelector('.live .dot')).animationName") == "breathe"
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert page.ask("getComputedStyle(document.querySelector('.live .dot')).animationName") == "none"
