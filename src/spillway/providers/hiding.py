"""Errors without the credential that was sent: some providers quote it, and a part of an answer may be shown."""

from __future__ import annotations

from collections.abc import Iterable

from spillway.core.errors import InferenceError
from spillway.core.secrets import Secret

_MASK = "[redacted]"
_LEAST = 4
"""Characters at the end of a text that was cut that are taken for the beginning of a secret."""


def hide(error: InferenceError, secrets: Iterable[Secret]) -> None:
    """Mask `secrets` wherever `error` and the errors that it came from show them.

    Of an error that is not ours nothing can be masked; one that shows a secret is left out.
    """
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, InferenceError):
            one.args = (_masked(one.message, secrets),)
            if one.body:
                one.body = _masked(one.body, secrets)
            if one.native:
                one.native = _masked(one.native, secrets)
        if one.__cause__ is not None and _shows(one.__cause__, secrets):
            one.__cause__ = None
        if one.__context__ is not None and _shows(one.__context__, secrets):
            one.__context__ = None
        one = one.__cause__ or one.__context__


def _masked(text: str, secrets: Iterable[Secret]) -> str:
    for secret in secrets:
        value = secret.reveal()
        if value in text:
            text = text.replace(value, _MASK)
        end = text.rstrip("\u2026")
        for length in range(min(len(value), len(end)), _LEAST - 1, -1):
            if end.endswith(value[:length]):
                text = end[:-length] + _MASK
                break
    return text


def _shows(error: BaseException, secrets: Iterable[Secret]) -> bool:
    if isinstance(error, InferenceError):
        return False
    shown = f"{error!r}{error}"
    return any(secret.reveal() in shown for secret in secrets)
