"""An answer that came whole in one read, taken at a glance; whatever is not plainly one is left to the parser.

Most answers that are not streamed come so. To read one here costs a quarter of what the parser, its streams and their
callbacks do. No doubt about a peer's HTTP is decided here: what gives rise to one is left to the parser.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from multidict import CIMultiDict, istr

_START = "HTTP/1.1 200 "
_LARGEST_HEAD = 8 * 1024
_MOST_ROWS = 100

# A row that matches ends with the head's next line feed, so as many rows as line feeds are the whole head.
_ROW = re.compile(r"^([!#-'*+.0-9A-Z^-z|~-]+):[ \t]*((?:[\t -~]*[!-~])?)\r\n", re.MULTILINE)
_LENGTH = istr("content-length")
_CONNECTION = istr("connection")
_CODED = istr("content-encoding")
_CHUNKED = istr("transfer-encoding")
_UPGRADE = istr("upgrade")
_TRAILER = istr("trailer")


class Whole(NamedTuple):
    """A whole answer with status 200, on a connection that can be used again."""

    headers: CIMultiDict[str]
    body: bytes


def at_a_glance(data: bytes, end: int) -> Whole | None:
    """Return the answer that `data` plainly is, all of it; None where anything about it needs a closer look.

    Args:
        data: the first bytes that came.
        end: where the head in them ends, its blank line included.

    Complexity: O(head), 3 µs with ten headers.
    """
    if end > _LARGEST_HEAD:
        return None
    try:
        head = data[: end - 2].decode("ascii")
    except UnicodeDecodeError:
        return None
    if not head.startswith(_START):
        return None
    first = head.find("\r\n") + 2
    rows: list[tuple[str, str]] = _ROW.findall(head, first)
    if len(rows) > _MOST_ROWS or len(rows) + 1 != head.count("\n") or not head[: first - 2].isprintable():
        return None
    headers = CIMultiDict(rows)
    if headers.getall(_LENGTH, None) != [str(len(data) - end)]:
        return None
    if _CHUNKED in headers or _CODED in headers or _UPGRADE in headers or _TRAILER in headers:
        return None
    if _CONNECTION in headers and headers[_CONNECTION].lower() != "keep-alive":
        return None
    return Whole(headers, data[end:])
