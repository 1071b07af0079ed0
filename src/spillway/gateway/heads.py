"""The head of a request: read once, and refused where two readers could take it for different requests.

The server's parser (granian) has refused what is no HTTP before this is asked. What it lets through and must not pass
is refused here, before the body is read and before anybody is asked who is there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

LONGEST_TARGET = 8 * 1024
"""Bytes of path and query together."""

MOST_HEADERS = 100
LONGEST_HEADER = 8 * 1024
"""Bytes of one header line."""

LARGEST_HEAD = 64 * 1024
"""Bytes of all header lines together."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FRAMING = frozenset({"transfer-encoding", "content-length", "host", "expect", "content-encoding", "content-type"})

_NONE: AbstractSet[str] = frozenset()

RawHeaders = Sequence[tuple[bytes, bytes]]


class Unfit(Exception):
    """A request is refused for its form; the connection ends with the answer.

    Attributes:
        status: of the answer.
        message: what the caller is told.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def read_headers(rows: RawHeaders) -> tuple[dict[str, str], AbstractSet[str]]:
    """Return the headers by their names in lower case, and the names that came more than once: of these the first."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in rows}
    if len(headers) == len(rows):
        return headers, _NONE
    headers, repeated = {}, set()
    for raw_name, raw_value in rows:
        name = raw_name.decode("latin-1").lower()
        if name in headers:
            repeated.add(name)
        else:
            headers[name] = raw_value.decode("latin-1")
    return headers, repeated


def check_size(rows: RawHeaders, target: int) -> None:
    """Return if a head is of bearable size.

    Args:
        target: bytes of path and query.

    Raises:
        Unfit: 414 or 431.
    """
    if target > LONGEST_TARGET:
        raise Unfit(414, f"the URL is longer than {LONGEST_TARGET} bytes")
    if len(rows) > MOST_HEADERS:
        raise Unfit(431, f"there are more than {MOST_HEADERS} headers")
    if sum(map(len, itertools.chain.from_iterable(rows))) + 4 * len(rows) <= LONGEST_HEADER:
        return
    total = 0
    for name, value in rows:
        size = len(name) + len(value) + 4
        if size > LONGEST_HEADER:
            raise Unfit(431, f"a header is longer than {LONGEST_HEADER} bytes")
        total += size
    if total > LARGEST_HEAD:
        raise Unfit(431, f"the headers are longer than {LARGEST_HEAD} bytes")


def check_form(method: str, http_version: str, headers: Mapping[str, str], repeated: AbstractSet[str]) -> None:
    """Return if a head says one thing only of where its request ends and whom it is for.

    Raises:
        Unfit: a framing header twice, both lengths, a coding but `chunked`, no host or no valid one (400), an
            expectation that nobody can meet (417), or CONNECT (405).
    """
    if repeated and not _FRAMING.isdisjoint(repeated):
        raise Unfit(400, f"{min(_FRAMING & repeated)} came more than once")
    coding = headers.get("transfer-encoding")
    if coding is not None:
        if coding.strip(" \t").lower() != "chunked":
            raise Unfit(400, "transfer-encoding must be chunked")
        if "content-length" in headers:
            raise Unfit(400, "content-length and transfer-encoding exclude each other")
    length = headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 20):
        raise Unfit(400, "content-length is not a number")
    host = headers.get("host", "")
    if not host:
        if http_version == "1.1":
            raise Unfit(400, "the header host is missing")
    elif host_name(host) is None:
        raise Unfit(400, "the header host is not valid")
    expected = headers.get("expect")
    if expected is not None and expected.strip().lower() != "100-continue":
        raise Unfit(417, "of expectations only 100-continue is met")
    if method == "CONNECT":
        raise Unfit(405, "this is no proxy")


def has_body(headers: Mapping[str, str]) -> bool:
    """Return whether a body follows the head."""
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def is_last(headers: Mapping[str, str]) -> bool:
    """Return whether a request must be the last on its connection.

    The parser does not show chunk extensions, trailers or a length that it dropped beside `chunked`. Where another
    reader could have found another end, nothing that follows is taken for a request.
    """
    return "transfer-encoding" in headers


class Hosts:
    """The names under which the gateway may be asked.

    A page whose name is made to point at this machine (DNS rebinding) is as near as a program on it; what it can't do
    is name another host than its own.

    Args:
        names: beside those of loopback, without a port; None: any name.
    """

    def __init__(self, names: Iterable[str] | None = None) -> None:
        self._names = None if names is None else _LOOPBACK | {name.lower().rstrip(".") for name in names}

    def check(self, headers: Mapping[str, str]) -> None:
        """Return if the host of a request is one of ours, or it names none.

        Raises:
            Unfit: 421.
        """
        if self._names is not None and (host := headers.get("host")) and host_name(host) not in self._names:
            raise Unfit(421, "this gateway is not asked under that host; name it in [gateway] hosts")

    def __repr__(self) -> str:
        return f"<Hosts {'any' if self._names is None else ' '.join(sorted(self._names))}>"


@lru_cache(maxsize=256)
def host_name(host: str) -> str | None:
    """Return a `Host` without its port, in lower case and without the root's dot; None for what is no host."""
    if _HOST.fullmatch(host) is None:
        return None
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.lower().rstrip(".")


def is_trusted_by_place(headers: Mapping[str, str]) -> bool:
    """Return whether a request from this machine may be trusted for coming from it.

    Not when it names another host, when a proxy passed it on, or when a web page of another origin made the browser
    send it: the page's browser is on this machine, its author is not.
    """
    host = headers.get("host", "")
    if host and host_name(host) not in _LOOPBACK:
        return False
    if any(name in headers for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via")):
        return False
    return not is_from_foreign_page(headers)


def is_from_foreign_page(headers: Mapping[str, str]) -> bool:
    """Return whether a browser says that a page of another origin asks."""
    origin = headers.get("origin")
    if origin is not None:
        host = headers.get("host", "").lower()
        if not host or origin.lower() not in {f"http://{host}", f"https://{host}"}:
            return True
    return headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}
