"""How commands speak with a running gateway: where it is, the admin key, and JSON there and back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from spillway.core.errors import ConfigError
from spillway.core.secrets import Secret
from spillway.runtime.config import environment, find_config, load, resolve_secret

if TYPE_CHECKING:
    from spillway.runtime.project import GatewaySettings

KEY_VARIABLE = "SPILLWAY_ADMIN_KEY"
TIMEOUT_S = 10.0
_LARGEST = 1 << 26
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "[::1]", "::1": "[::1]"}  # noqa: S104 - told, not bound


class AdminError(ConnectionError):
    """The gateway can't be reached, or could not do what it was asked; one line that says so (exit 1)."""


class AdminClient:
    """Asks one gateway's operator routes.

    Args:
        url: where it is, without a path of its routes.
        key: the admin key; None: it answers its own machine without one.
        timeout_s: after so long without a byte it is given up.
    """

    def __init__(self, url: str, key: Secret | None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._timeout_s = timeout_s
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1 or parts.username is not None:
            raise ConfigError("--url must be http://HOST:PORT or https://HOST:PORT")
        self._secure = parts.scheme == "https"
        self._host, self._port, self._base = parts.hostname, port, parts.path

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return what `path` answers.

        Args:
            path: begins with `/`; use `segment` for a name in it.

        Raises:
            ConfigError: it does not let us in, or knows no such thing.
            AdminError: it can't be reached, or failed.
        """
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return what `path` answers to `body`; raises what `get` raises."""
        return self._ask("POST", path, json.dumps(body or {}).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        made = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = made(self._host, self._port, timeout=self._timeout_s)
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = "application/json"
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key.reveal()}"
        try:
            connection.request(method, self._base + path, body, headers)
            response = connection.getresponse()
            status, content = response.status, response.read(_LARGEST)
        except TimeoutError:
            raise AdminError(f"{self.url} did not answer within {self._timeout_s:g} s") from None
        except OSError as error:
            raise AdminError(f"no gateway at {self.url}: {error.strerror or error}") from None
        except (http.client.HTTPException, ValueError) as error:
            raise AdminError(f"{self.url} does not speak HTTP: {type(error).__name__}") from None
        finally:
            connection.close()
        return self._read(status, content)

    def _read(self, status: int, content: bytes) -> Any:
        try:
            answer = json.loads(content)
        except ValueError:
            raise AdminError(f"{self.url} answers {status} and no JSON; is it a Spillway gateway?") from None
        if status < 400:
            return answer
        said = _message(answer) or f"status {status}"
        if status in {401, 403}:
            hint = f"it stands in [gateway] admin_key, or in ${KEY_VARIABLE}"
            raise ConfigError(f"{self.url} refuses: {said} ({hint})")
        if status < 500:
            raise ConfigError(f"{self.url}: {said}")
        raise AdminError(f"{self.url}: {said}")

    def __repr__(self) -> str:
        return f"<AdminClient {self.url}>"


def admin_client(url: str | None = None, config: str | None = None, *, timeout_s: float = TIMEOUT_S) -> AdminClient:
    """Return a client of the gateway that a command means.

    Args:
        url: as `--url` gave it; None: what `[gateway] bind` of the project file says.
        config: as `-c` gave it; None: where `find_config` looks. Without `url` there must be one.

    Raises:
        ConfigError: there is neither, or one of them is wrong; or the admin key of the file can't be read.
    """
    environ = environment()
    path = find_config(config, environ)
    if path is None and url is None:
        raise ConfigError("no --url was given, and no spillway.toml here says where the gateway is")
    settings = None if path is None else load(path).gateway
    return AdminClient(url or url_of(settings), _key_of(settings, environ), timeout_s=timeout_s)


def url_of(settings: GatewaySettings | None) -> str:
    """Return where a gateway with these settings is reached from its own machine."""
    host, _, port = ("127.0.0.1", "", "8080") if settings is None else settings.bind.rpartition(":")
    return f"http://{_ANYWHERE.get(host, host)}:{port}"


def segment(name: str) -> str:
    """Return a name as one segment of a path."""
    return quote(name, safe="")


def _key_of(settings: GatewaySettings | None, environ: Mapping[str, str]) -> Secret | None:
    if settings is not None and settings.admin_key is not None:
        return resolve_secret(settings.admin_key, environ)
    shown = environ.get(KEY_VARIABLE)
    return Secret(shown) if shown else None


def _message(answer: Any) -> str:
    error = answer.get("error") if isinstance(answer, dict) else None
    said = error.get("message") if isinstance(error, dict) else None
    return said if isinstance(said, str) else ""
