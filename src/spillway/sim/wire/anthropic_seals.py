"""What Anthropic signs and wants back unchanged: thinking, redacted thinking, the finds of a search.

A seal is the hash of an answer and a keyed hash of that and of what is sealed, so that any simulator knows its own.
"""

from __future__ import annotations

import hashlib

_KEY = b"simulated"
_NONCE = 32


def seal(digest: bytes, text: str) -> str:
    """Return the seal of `text` in the answer of a hash."""
    nonce = digest.hex()
    return nonce + _code(nonce, text)


def holds(sealed: object, text: str) -> bool:
    """Whether `sealed` is a seal of `text`."""
    return isinstance(sealed, str) and sealed[_NONCE:] == _code(sealed[:_NONCE], text)


def _code(nonce: str, text: str) -> str:
    data = f"{nonce}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, key=_KEY, digest_size=16).hexdigest()
