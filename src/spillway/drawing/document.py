"""A whole page in one file that loads nothing, written so that nobody ever sees half of it."""

from __future__ import annotations

import base64
import hashlib
import os
from importlib import resources
from pathlib import Path

from spillway.drawing.markup import Html, tag


def document(title: str, *content: Html, style: str = "") -> Html:
    """Return a page: its content in the frame that all pages share.

    Args:
        style: rules of this kind of page, after those of all.
    """
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        Html('<link rel="icon" href="data:,">'),
        tag("title", title),
        tag("style", Html(_text("page.css") + style)),
    )
    body = tag("body", tag("main", *content), tag("script", Html(script)))
    return Html(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")


def write_document(path: Path, page: str) -> None:
    """Put a page where `path` says, in place of what is there.

    Raises:
        OSError: it can't be written; what was there before still is.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(page, encoding="utf-8", errors="replace")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _text(name: str) -> str:
    return resources.files("spillway.drawing").joinpath(name).read_text(encoding="utf-8")
