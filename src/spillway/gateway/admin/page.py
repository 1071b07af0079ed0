"""`GET /dashboard`: one page that holds its style and its script, and no data."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note

STYLES = ("colours.css", "page.css", "parts.css")
SCRIPTS = ("page.js", "plots.js", "deployments.js", "requests.js", "actions.js", "live.js")
"""In the order in which they are put together; they share one scope."""


async def dashboard(_gateway: Gateway, _caller: None, exchange: Exchange, _note: Note) -> None:
    """Answer with the page."""
    page, headers = assembled()
    await exchange.answer(200, page, headers, b"text/html; charset=utf-8")


@functools.cache
def assembled() -> tuple[bytes, dict[str, str]]:
    """Return the page and its headers, which allow what is in it and nothing else."""
    style = "".join(_read(name) for name in STYLES)
    script = '(() => {\n"use strict";\n' + "".join(_read(name) for name in SCRIPTS) + "})();\n"
    page = _read("page.html").replace("/* style */", style).replace("/* script */", script)
    policy = (
        "default-src 'none'; "
        f"script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
    }
    return page.encode(), headers


def _read(name: str) -> str:
    return resources.files("spillway.gateway.dashboard").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
