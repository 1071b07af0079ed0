"""The page as it is answered: whole, closed to everything else, without data."""

import base64
import hashlib
import re

from operated import operate

import spillway


def page():
    async def test(o):
        return await o.get("/dashboard", peer="203.0.113.9")

    return operate(test, admin_key=spillway.Secret("the-admin-key"))


def test_the_policy_allows_what_is_in_the_page_and_nothing_else():
    answer = page()
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'none'"
    text = answer.body.decode()
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_page_loads_nothing_and_shows_nothing_by_itself():
    text = page().body.decode()
    found = set(re.findall(r"https?://[^\"'`)\s<]+", text))
    assert found <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<link[^>]+stylesheet|<script[^>]+src|@import|url\(", text)
    # No handler or style stands in an attribute: the policy would refuse it.
    markup = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    assert not re.search(r"\son\w+=|\sstyle=", markup)
    assert not re.search(r"\beval\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write", text)
    assert "the-admin-key" not in text


def test_it_is_small():
    assert len(page().body) < 80_000
