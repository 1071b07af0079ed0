"""Takes what must not be in a file out of what was said: keys, tokens, cookies, names of organisations and projects."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
"""What stands where a secret stood."""

_MASK = MASK.encode()
_GRAM = 8
_SECRET_HEADER = re.compile(
    "auth|key|token|secret|cookie|credential|passw|organi[sz]ation|project|account|tenant", re.IGNORECASE
)
_SECRET_FIELD = (
    rb"access_token|refresh_token|id_token|client_secret|private_key(?:_id)?|client_email|assertion|api_?key|password"
)
_SHAPES = re.compile(
    rb"\b(?:sk-|gsk_|xai-|pplx-|hvs\.|AIza|ya29\.|AKIA|ASIA)[\w./+-]{12,}"  # keys by their makers' prefixes
    rb"|\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?"  # JSON Web Tokens
    rb"|\borg-[A-Za-z0-9]{16,}|\bproj_[A-Za-z0-9]{16,}"  # organisations and projects of OpenAI
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
    re.DOTALL,
)
_FIELD = re.compile(rb'"(?:' + _SECRET_FIELD + rb')"\s*:\s*"((?:[^"\\]|\\.)+)"', re.IGNORECASE)
_PARAMETER = re.compile(
    r"(?<=[?&])((?:api[-_]?key|key|access_token|token|sig|signature)=)[^&]*|(?<=/projects/)[^/?]+", re.IGNORECASE
)


class Scrubber:
    """Masks every secret that it has learned, and every part of one that is eight characters long.

    What looks like a secret is masked although it was not learned.

    Args:
        secrets: values that are known from the start.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._grams: set[bytes] = set()
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str) -> None:
        """Mask `secret` from now on, as it is and as JSON and URLs write it; one of under 8 characters is not."""
        quoted = json.dumps(secret)[1:-1]
        for form in {secret, quoted, quoted.replace("/", "\\/"), quote(secret, safe=""), quote_plus(secret)}:
            data = form.encode("utf-8", "surrogatepass")
            self._grams.update(data[at : at + _GRAM] for at in range(len(data) - _GRAM + 1))

    def learn_headers(self, headers: Mapping[str, str]) -> None:
        """Learn the credentials and names that a request was sent with."""
        for name, value in headers.items():
            if _SECRET_HEADER.search(name):
                scheme, _, rest = value.partition(" ")
                self.learn(rest or scheme)

    def scrub(self, data: bytes) -> bytes:
        """Return `data` with a mask for each secret."""
        return self.scrub_pieces([data])[0]

    def scrub_pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """Return pieces of one text with a mask for each secret, also for one that begins in one and ends in another.

        Its mask is in the piece that it begins in.
        """
        whole = b"".join(pieces)
        spans = self._spans(whole)
        if not spans:
            return list(pieces)
        found: list[bytes] = []
        start = 0
        for piece in pieces:
            end = start + len(piece)
            found.append(_masked(whole, start, end, spans))
            start = end
        return found

    def path(self, path: str) -> str:
        """Return a URL's path and query without keys and projects."""
        plain = _PARAMETER.sub(lambda match: (match[1] or "") + MASK, path)
        return self.scrub(plain.encode()).decode("utf-8", "replace")

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return where secrets stand, in order and apart.

        Complexity: linear in `data`.
        """
        grams = self._grams
        found = [(at, at + _GRAM) for at in range(len(data) - _GRAM + 1) if data[at : at + _GRAM] in grams]
        found += [match.span() for match in _SHAPES.finditer(data)]
        found += [match.span(1) for match in _FIELD.finditer(data)]
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((start, end))
        return merged


def _masked(data: bytes, start: int, end: int, spans: Sequence[tuple[int, int]]) -> bytes:
    """Return `data[start:end]` with masks for the spans that begin in it, and nothing of those that began before."""
    at = bisect_right(spans, (start, -1))
    if at and spans[at - 1][1] > start:
        start = min(spans[at - 1][1], end)
    out: list[bytes] = []
    while at < len(spans) and spans[at][0] < end:
        first, last = spans[at]
        out += [data[start:first], _MASK]
        start = min(last, end)
        at += 1
    out.append(data[start:end])
    return b"".join(out)
