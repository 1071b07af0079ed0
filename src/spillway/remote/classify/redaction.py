"""What of a provider's text may be shown: no secret, no control character, one line, a bounded length."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MASK = "[redacted]"
_READ = 65536  # characters that are looked at; what is shown is a small part of it
_END = r"\s\"'`,;<>()\[\]{}\\&"
_TOKENS = re.compile(
    rf"\b(?:sk-|gsk_|xai-|pplx-|AIza|ya29\.|AKIA|ASIA)[^{_END}]{{4,}}"  # keys by their makers' prefixes
    r"|\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"  # JSON Web Tokens
)
_SCHEMES = re.compile(rf"\b(bearer\s+)[^{_END}]{{6,}}|\b(basic\s+)(?=[^{_END}]*[0-9=+/])[^{_END}]{{6,}}", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:\b|_)(?:api[-_ ]?key|access[-_]?token|refresh[-_]?token|client[-_]?secret|secret|password|authorization)"
    rf"[\"'\\]*\s*[=:]\s*[\"'\\]*|\b(?:key|token|sig|signature)=)[^{_END}]{{4,}}",
    re.IGNORECASE,
)
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000)], " ")


def redact(text: str | bytes, *, known: Iterable[str] = ()) -> str:
    """Return `text` with what looks like a secret masked whole and each control character made a space.

    Args:
        text: what a provider sent, of any length; only its first 64 KiB are looked at and returned.
        known: secrets that are masked wherever they stand, whatever they look like.
    """
    if isinstance(text, bytes):
        text = text[: 4 * _READ].decode("utf-8", "replace")
    if len(text) > _READ:
        # The last word may be a secret cut so short that it no longer looks like one.
        text = text[:_READ].rsplit(None, 1)[0]
    for secret in known:
        if secret:
            text = text.replace(secret, _MASK)
    text = text.translate(_CONTROLS)
    text = _SCHEMES.sub(lambda m: (m[1] or m[2]) + _MASK, text)
    text = _TOKENS.sub(_MASK, text)
    return _NAMED.sub(lambda m: m[1] + _MASK, text)


def one_line(text: str, limit: int) -> str:
    """Return `text` redacted, its blanks joined, and at most `limit` characters long."""
    line = " ".join(redact(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def bounded(text: str | bytes, limit: int) -> str:
    """Return `text` redacted and at most `limit` bytes of UTF-8 long."""
    return redact(text).encode()[:limit].decode("utf-8", "ignore")
