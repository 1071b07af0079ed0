"""What went wrong below HTTP, in our words: the one place that knows aiohttp's exceptions."""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from spillway.core.errors import BadRequest, InferenceError, NetworkError, Timeout

_LOCAL = frozenset({
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EADDRNOTAVAIL,
    errno.EAGAIN,
})  # fmt: skip
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_NO_RESOURCES = frozenset({socket.EAI_MEMORY, socket.EAI_SYSTEM})
_OVERSIZE = ("Got more than", "Too many headers")


def translate(exc: Exception, *, host: str, tls: bool, proxy: str | None, connect_s: float) -> InferenceError | None:
    """Return the error of ours that `exc` of sending to `host` means, None for what is not the network's.

    Nothing of `exc` but names and numbers goes into it: aiohttp's own texts may hold a proxy's password or headers.
    """
    if isinstance(exc, InferenceError):
        return exc
    if isinstance(exc, TimeoutError) and not (isinstance(exc, OSError) and exc.errno):
        return Timeout(f"no connection to {proxy or host} within {connect_s:g} s", reason="connect")
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return NetworkError(
            f"the proxy {proxy} answered {exc.status} to CONNECT", reason="proxy", retryable=exc.status != 407
        )
    if isinstance(exc, aiohttp.ClientConnectorError):
        return _not_connected(exc, host, tls=tls, proxy=proxy)
    if isinstance(exc, aiohttp.ClientResponseError):
        return _no_http(exc.message, host)
    if isinstance(exc, HttpProcessingError):
        return _no_http(exc.message, host)
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return NetworkError(f"{host} closed the connection without an answer", reason="disconnect")
    if isinstance(exc, OSError):
        return broken(exc, host)
    if isinstance(exc, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError | ValueError):
        return BadRequest(f"a request to {host} has a URL or a header that can't be sent", reason="unsendable")
    if isinstance(exc, aiohttp.ClientConnectionError | RuntimeError) and "closed" in str(exc):
        return NetworkError("the HTTP client is closed", reason="local", counts_as_circuit_failure=False)
    if isinstance(exc, aiohttp.ClientError):
        return NetworkError(f"the connection to {host} failed: {type(exc).__name__}", reason="disconnect")
    return None


def broken(exc: OSError, host: str) -> NetworkError:
    """Return the error for a connection that `exc` ended."""
    if isinstance(exc, ssl.SSLError):
        return NetworkError(f"TLS with {host} broke: {exc.reason}", reason="tls")
    if exc.errno in _LOCAL:
        return _local(exc, host)
    return NetworkError(f"the connection to {host} was reset ({_name(exc)})", reason="reset")


def harmless_cause(exc: BaseException) -> BaseException | None:
    """Return what may be shown as the cause of our error: never what holds headers, URLs or a peer's own bytes."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return exc.os_error
    return exc if isinstance(exc, OSError) else None


def _not_connected(exc: aiohttp.ClientConnectorError, host: str, *, tls: bool, proxy: str | None) -> NetworkError:
    cause = exc.os_error
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        why = getattr(cause, "verify_message", "") or "it does not verify"
        return NetworkError(f"the certificate of {host} is not trusted: {why}", reason="certificate", retryable=False)
    if isinstance(exc, aiohttp.ClientConnectorSSLError):
        return NetworkError(f"no TLS with {host}: {getattr(cause, 'reason', None) or 'handshake failed'}", reason="tls")
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        if isinstance(cause, socket.gaierror) and cause.errno in _NO_RESOURCES:
            return _local(cause, host)
        return NetworkError(
            f"the name {exc.host} does not resolve ({_name(cause)})",
            reason="dns",
            retryable=cause.errno not in _NO_SUCH_NAME,
        )
    if cause.errno in _LOCAL:
        return _local(cause, host)
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return NetworkError(f"no connection to the proxy {proxy} ({_name(cause)})", reason="proxy")
    if tls and isinstance(cause, ConnectionResetError | ConnectionAbortedError):
        return NetworkError(f"{host} ended the TLS handshake", reason="tls")
    return NetworkError(f"no connection to {host} ({_name(cause)})", reason="connect")


def _local(exc: OSError, host: str) -> NetworkError:
    return NetworkError(
        f"this machine has no resources for a connection to {host} ({_name(exc)})",
        reason="local",
        counts_as_circuit_failure=False,
    )


def _no_http(message: str, host: str) -> NetworkError:
    if message.startswith(_OVERSIZE):
        return NetworkError(f"{host} sent more headers than are taken", reason="protocol", retryable=False)
    malformed = message.startswith("Invalid HTTP header")
    return NetworkError(f"{host} did not answer in HTTP/1.1", reason="protocol", retryable=not malformed)


def _name(exc: OSError) -> str:
    if isinstance(exc, socket.gaierror):
        return str(exc.strerror or exc.errno)
    return errno.errorcode.get(exc.errno or 0, type(exc).__name__)
