"""The HTTP port and its clients."""

from __future__ import annotations

from spillway.core.errors import ConfigError
from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http import layer
from spillway.remote.http.port import BODY_LIMIT, HttpClient, HttpRequest, HttpResponse

__all__ = [
    # the port
    "HttpClient",
    "HttpRequest",
    "HttpResponse",
    # its client
    "BODY_LIMIT",
    "build_client",
]

_PLAIN = HttpConfig()


def build_client(timeouts: Timeouts, user_agent: str, *, http: HttpConfig = _PLAIN, limit: int = 0) -> HttpClient:
    """Return a client with a pool of connections of its own; it belongs to the loop of its first request.

    Args:
        timeouts: of which `connect_timeout_s` is used: DNS, TCP, proxy and TLS together.
        user_agent: sent with each request that has none.
        http: proxy, certificate authorities, protocol (with `http2` the one that TLS negotiates).
        limit: connections at most, 0 for as many as are asked for; waiting for one counts as connecting.

    Raises:
        ConfigError: an option of `http` can't be met.
    """

    def build() -> HttpClient:
        if http.http2:
            try:
                from spillway.remote.http.pyqwest_client import PyqwestClient  # noqa: PLC0415 # an extra
            except ModuleNotFoundError as error:
                raise ConfigError("http.http2: HTTP/2 needs the extra http2: pip install 'spillway[http2]'") from error
            return PyqwestClient(timeouts, user_agent, http=http, limit=limit)
        from spillway.remote.http.aiohttp_client import AiohttpClient  # noqa: PLC0415 # 200 ms that only a sender pays

        return AiohttpClient(timeouts, user_agent, http=http, limit=limit)

    return layer.through(build)
