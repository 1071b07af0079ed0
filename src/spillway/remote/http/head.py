"""The head of a request as it goes on the wire; most requests of a deployment have the same."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aiohttp import ClientRequest
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    from spillway.remote.http.wire import Idle

_FRAMING = ("content-length", "transfer-encoding", "expect", "upgrade")
# In lines joined by "\n". Surrogates too: the error of encoding them would quote the whole head.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Head:
    """Request line and headers of requests that differ in their body only.

    Args:
        method: of the requests.
        url: where they go.
        headers: as in `HttpRequest`.
        defaults: sent where `headers` has none of that name.
        tls: the context for https.
        proxy: where they go instead.
        proxy_headers: what the proxy is told, once for each connection, or with each request in plain HTTP.

    Raises:
        ValueError: it can't be sent.

    Attributes:
        request: what a connection for it is asked for with.
        idle: connections that wait for such requests; None before the pool was asked.
    """

    __slots__ = ("_headers", "_start", "idle", "method", "request")

    def __init__(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        *,
        defaults: Mapping[str, str],
        tls: ssl.SSLContext | bool,
        proxy: URL | None,
        proxy_headers: Mapping[str, str] | None,
    ) -> None:
        self.method = method
        self.idle: Idle | None = None
        self._headers = dict(headers)
        merged = CIMultiDict(defaults)
        for name, value in headers.items():
            merged[name] = value
        if any(name in merged for name in _FRAMING):
            raise ValueError("a header that frames the body")
        in_the_open = proxy is not None and url.scheme == "http"
        if in_the_open and proxy_headers is not None:
            merged.update(proxy_headers)
        if proxy_headers is not None:
            # The connector adds Host where it is missing, and a pool is known by all of these.
            proxy_headers = {**proxy_headers, "Host": url.host_port_subcomponent or ""}
        self.request = ClientRequest(
            method,
            url,
            headers=merged,
            loop=asyncio.get_running_loop(),
            ssl=tls,
            proxy=proxy,
            # The connector adds Host where it is missing, and a pool is known by all of these.
            proxy_headers=None
            if proxy_headers is None
            else {**proxy_headers, "Host": url.host_port_subcomponent or ""},
        )
        sent = self.request.headers
        sent.popall("content-length", None)
        lines = [f"{self.request.method} {url if in_the_open else url.raw_path_qs} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in sent.items()]
        self._start = _joined(lines)

    def fits(self, method: str, headers: Mapping[str, str]) -> bool:
        """Whether it is the head of a request with these."""
        return self._headers == headers and self.method == method

    def with_body(self, body: bytes, own: bytes = b"") -> bytes:
        """Return a whole request; `own` are header lines of its own, see `lines_of`."""
        return b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (self._start, own, len(body), body)

    def for_length(self, length: int, own: bytes = b"") -> bytes:
        """Return the head of a request with so many bytes of body."""
        return b"%b%b\r\nContent-Length: %d\r\n\r\n" % (self._start, own, length)


def lines_of(headers: Mapping[str, str] | None) -> bytes:
    """Return headers as lines that go behind the shared ones, each with its line break before it.

    Raises:
        ValueError: a character that no header may hold.
    """
    if not headers:
        return b""
    return b"\r\n" + _joined([f"{name}: {value}" for name, value in headers.items()])


def _joined(lines: list[str]) -> bytes:
    """Return lines as they are sent; none of them can hold another one."""
    text = "\n".join(lines)
    if text.count("\n") != len(lines) - 1 or _FORBIDDEN.search(text):
        raise ValueError("a character that no header may hold")
    return text.replace("\n", "\r\n").encode()
