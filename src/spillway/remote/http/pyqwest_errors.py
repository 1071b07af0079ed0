"""What went wrong below HTTP, in our words: the one place that knows pyqwest's exceptions and reqwest's texts."""

from __future__ import annotations

import pyqwest

from spillway.core.errors import BadRequest, InferenceError, NetworkError, Timeout

_CERTIFICATE = ("invalid peer certificate", "certificate")
_TLS = ("tls", "handshake", "received fatal alert", "corrupt message", "invalidcontenttype", "unexpected eof during")
_LOCAL = ("too many open files", "os error 24", "os error 23", "cannot assign requested address", "no buffer space")
_NO_SUCH_NAME = ("name or service not known", "no address associated", "nxdomain", "no records found")
_REASONS = {
    "dns": "its name does not resolve",
    "connect": "no connection",
    "reset": "the connection was reset",
    "disconnect": "it closed the connection without an answer",
}


def not_processed(exc: Exception) -> bool:
    """Whether the peer says that it has done nothing of the request (RFC 9113, 8.7)."""
    return isinstance(exc, pyqwest.StreamError) and exc.code is pyqwest.StreamErrorCode.REFUSED_STREAM


def translate(exc: Exception, *, host: str, tls: bool, proxy: str | None, connect_s: float) -> InferenceError:
    """Return the error of ours that `exc` of sending to `host` means.

    Nothing of `exc` but what is recognised goes into it: its own texts hold URLs and peers' bytes.
    """
    text = str(exc).lower()
    if isinstance(exc, TimeoutError):
        return Timeout(f"no connection to {proxy or host} within {connect_s:g} s", reason="connect")
    if any(sign in text for sign in _LOCAL):
        return NetworkError(
            f"this machine has no resources for a connection to {host}", reason="local", counts_as_circuit_failure=False
        )
    if isinstance(exc, ConnectionError) or "(connect)" in text:
        return _not_connected(text, host, proxy, tls=tls)
    if isinstance(exc, pyqwest.StreamError):
        return NetworkError(f"{host} ended the stream: {exc.code.name}", reason=_of_stream(exc))
    if isinstance(exc, ValueError | TypeError) or "builder error" in text:
        return BadRequest(f"a request to {host} has a URL or a header that can't be sent", reason="unsendable")
    if "reset by peer" in text or "broken pipe" in text or "connection aborted" in text:
        return _failed("reset", host)
    if "closed before message completed" in text or "goaway" in text or "go away" in text or "canceled" in text:
        return _failed("disconnect", host)
    too_much = "too large" in text or "too many headers" in text
    return NetworkError(f"{host} did not answer in HTTP", reason="protocol", retryable=not too_much)


def broken_body(exc: Exception, host: str) -> NetworkError:
    """Return the error for an answer that broke inside its body."""
    text = str(exc).lower()
    if isinstance(exc, pyqwest.StreamError):
        return NetworkError(f"{host} ended the stream inside the answer: {exc.code.name}", reason=_of_stream(exc))
    if "reset by peer" in text or "broken pipe" in text:
        return NetworkError(f"the connection to {host} was reset inside the answer", reason="reset")
    if "end of file" in text or "unexpected eof" in text or "closed before" in text or "goaway" in text:
        return NetworkError(f"{host} ended the connection inside the answer", reason="incomplete")
    return NetworkError(f"{host} broke HTTP inside the answer", reason="protocol")


def _of_stream(exc: pyqwest.StreamError) -> str:
    protocol = {pyqwest.StreamErrorCode.PROTOCOL_ERROR, pyqwest.StreamErrorCode.FRAME_SIZE_ERROR}
    return "protocol" if exc.code in protocol else "reset"


def _not_connected(text: str, host: str, proxy: str | None, *, tls: bool) -> NetworkError:
    if "dns error" in text or "lookup" in text:
        final = any(sign in text for sign in _NO_SUCH_NAME)
        return NetworkError(f"the name {host} does not resolve", reason="dns", retryable=not final)
    if any(sign in text for sign in _CERTIFICATE):
        return NetworkError(f"the certificate of {host} is not trusted", reason="certificate", retryable=False)
    if proxy is not None and ("tunnel" in text or "proxy" in text):
        denied = "407" in text or "authorization required" in text
        return NetworkError(f"the proxy {proxy} refused the connection", reason="proxy", retryable=not denied)
    if any(sign in text for sign in _TLS) or (tls and "reset by peer" in text):
        return NetworkError(f"no TLS with {host}", reason="tls")
    if proxy is not None:
        return NetworkError(f"no connection to the proxy {proxy}", reason="proxy")
    return _failed("connect", host)


def _failed(reason: str, host: str) -> NetworkError:
    return NetworkError(f"{host}: {_REASONS[reason]}", reason=reason)
