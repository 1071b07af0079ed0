"""Where a Redis is, as a URL says it, and how that may be shown."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from spillway.core.errors import ConfigError

_DIRECT = ("redis", "rediss", "unix")
_SENTINEL = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_SCHEMES = tuple(f"{scheme}://" for scheme in (*_DIRECT, *_SENTINEL))
_SENTINEL_PORT = 26379


class Address(NamedTuple):
    """One Redis, or sentinels that know which one it is.

    Attributes:
        url: of the Redis, for the client library; with sentinels its host is nobody's.
        sentinels: host and port of each; empty: the URL says where the Redis is.
        master: the name by which sentinels know it.
        sentinel_user: and its password, for the sentinels themselves; empty: they ask for none.
    """

    url: str
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    sentinel_user: str = ""
    sentinel_password: str = ""


def address_of(url: str) -> Address:
    """Return what a URL means: `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `rediss+sentinel://`.

    Those of sentinels name all of them, then the master and the database: `redis+sentinel://h1:26379,h2/mymaster/0`.
    What stands after `?` goes to the client library (`ssl_ca_certs=/etc/ca.pem`), but for `sentinel_user` and
    `sentinel_password`.

    Raises:
        ConfigError: it is none of these. What it says is not repeated: there may be a password in it.
    """
    scheme, _, rest = url.partition("://")
    if scheme in _DIRECT and rest:
        database = rest.partition("?")[0].rpartition("@")[2].partition("/")[2]
        if scheme != "unix" and database and not database.isdigit():
            raise ConfigError("the database in a store's URL is a number, as in redis://host:6379/0")
        return Address(url)
    if scheme not in _SENTINEL:
        raise ConfigError(f"a store's URL begins with one of {', '.join(_SCHEMES)}")
    rest, _, query = rest.partition("?")
    place, _, path = rest.partition("/")
    login, at, hosts = place.rpartition("@")
    master, _, database = path.partition("/")
    options = dict(parse_qsl(query))
    user, password = options.pop("sentinel_user", ""), options.pop("sentinel_password", "")
    try:
        sentinels = tuple(_host_and_port(each) for each in hosts.split(","))
    except ValueError:
        sentinels = ()
    if not sentinels or not master:
        raise ConfigError("a store's URL with sentinels is like redis+sentinel://host:26379,host:26379/mymaster/0")
    more = f"?{urlencode(options)}" if options else ""
    return Address(
        f"{_SENTINEL[scheme]}://{login}{at}sentinels/{database or 0}{more}", sentinels, master, user, password
    )


def may_be_url(text: str) -> bool:
    """Whether a text begins as the URL of a Redis does."""
    return text.startswith(_SCHEMES)


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(_SENTINEL_PORT)
    if not host:
        raise ValueError(text)
    return host.strip("[]"), int(port)


def shown(url: str) -> str:
    """Return a URL without login and options: nothing in it is secret."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("?")[0].partition("/") if "@" not in rest else _after_login(rest)
    return f"{scheme}://{place}{slash}{path}"


def _after_login(rest: str) -> tuple[str, str, str]:
    # The last @ before the options: a password may hold any other character when it is not quoted as it should be.
    return rest.partition("?")[0].rpartition("@")[2].partition("/")
