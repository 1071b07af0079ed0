"""Where the gateway listens: `HOST:PORT` read, looked up, and tried before anything else is begun."""

from __future__ import annotations

import errno
import ipaddress
import socket

import msgspec

from spillway.core.errors import ConfigError
from spillway.runtime.config_errors import quoted

_WHY = {
    errno.EADDRINUSE: "another process listens there",
    errno.EACCES: "this user may not listen there; ports below 1024 need a privilege",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine does not speak that version of IP",
}


class Bind(msgspec.Struct, frozen=True):
    """An address to listen on.

    Attributes:
        named: the host as it was asked for.
        address: of IPv4 or IPv6.
    """

    named: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def url(self) -> str:
        """Where it is asked from this machine."""
        ip = ipaddress.ip_address(self.address)
        host = ("[::1]" if ip.version == 6 else "127.0.0.1") if ip.is_unspecified else self._host
        return f"http://{host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.named}]" if ":" in self.named else self.named

    def __str__(self) -> str:
        return f"{self._host}:{self.port}"


def read_bind(text: str) -> Bind:
    """Return what `HOST:PORT` means; an IPv6 address may stand in brackets.

    Raises:
        ConfigError: it is not that, or the host has no address here.
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (host and colon and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"bind must be HOST:PORT, for example 127.0.0.1:8080, not {quoted(text)}")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise ConfigError(f"bind: {quoted(host)} is no address of this machine") from None
    address = str(found[0][4][0])
    return Bind(host, address, int(port))


def claim(bind: Bind) -> Bind:
    """Return `bind`, with a free port in place of port 0, if one can listen there now.

    The server that follows shares its port with whoever else asks to share it, so that nobody else would tell.

    Raises:
        ConfigError: one can't.
    """
    family = socket.AF_INET6 if ":" in bind.address else socket.AF_INET
    try:
        with socket.create_server((bind.address, bind.port), family=family) as probe:
            port = int(probe.getsockname()[1])
    except OSError as error:
        why = _WHY.get(error.errno or 0) or error.strerror or "it can't be listened on"
        raise ConfigError(f"bind: {bind}: {why}") from None
    return Bind(bind.named, bind.address, port)
