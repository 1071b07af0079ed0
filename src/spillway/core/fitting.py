"""Whether values fit the types that options are declared with, in Python as in a file."""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from spillway.core.secrets import SOURCES, Secret, SecretRef, fields_of_table

_WORDS: Mapping[Any, str] = {bool: "True or False", int: "a whole number", float: "a number", str: "text"}
_TAKEN: Mapping[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}
_LISTS = (list, tuple, set, frozenset)
_LONGEST = 200


def fit(options: msgspec.Struct) -> None:
    """Hold every field of `options` to its declared type; lists become tuples, and what stands for a secret one.

    Raises:
        ValueError: one line that begins with the field's name and shows no secret.
    """
    for name, kinds in _kinds(type(options)).items():
        value = getattr(options, name)
        fitted = _fitted(name, kinds, value)
        if fitted is not value:
            msgspec.structs.force_setattr(options, name, fitted)


def as_secret(name: str, value: Any) -> Secret | SecretRef:
    """Return the secret, or where it is read, that `value` stands for: itself, a text, or a table as in a file.

    Raises:
        ValueError: it is none of these; the message shows nothing of it.
    """
    if isinstance(value, Secret | SecretRef):
        return value
    if isinstance(value, str) and value.strip():
        return Secret(value)
    if isinstance(value, Mapping):
        given = fields_of_table(value)
        if isinstance(given.get("inline"), str):
            given["inline"] = Secret(given["inline"])
        try:
            return SecretRef(**given)
        except TypeError:
            raise ValueError(
                f"{name} takes {', '.join(SOURCES[:-1])} or {SOURCES[-1]}, not {', '.join(map(str, given))}"
            ) from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    got = "an empty text" if isinstance(value, str) else f"of type {type(value).__name__}"
    raise ValueError(f'{name} must be a Secret, a SecretRef or {{"from_env": "NAME"}}, not {got}')


@functools.cache
def _kinds(owner: type[msgspec.Struct]) -> dict[str, tuple[Any, ...]]:
    """Return the alternatives of each field's type."""
    return {field.name: _alternatives(field.type) for field in msgspec.structs.fields(owner)}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in {typing.Union, types.UnionType} else (kind,)


def _fitted(name: str, kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    if SecretRef in kinds:
        pool = any(typing.get_origin(kind) is tuple for kind in kinds)
        if pool and isinstance(value, (list, tuple)):
            if not value:
                raise ValueError(f"{name}: a key pool needs at least one key")
            return tuple(as_secret(name, each) for each in value)
        return as_secret(name, value)
    some = [kind for kind in kinds if kind is not types.NoneType]
    kind = next((kind for kind in some if _is_of(kind, value)), some[0])
    origin = typing.get_origin(kind)
    if origin is Literal:
        choices = typing.get_args(kind)
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {_shown(value)}")
        return value
    if origin is tuple:
        if not isinstance(value, _LISTS):
            text = "the text " if isinstance(value, str) else ""
            raise ValueError(f"{name} must be a list, not {text}{_shown(value)}")
        return tuple(_fitted(name, _alternatives(typing.get_args(kind)[0]), each) for each in value)
    if not _is_of(kind, value):
        raise ValueError(f"{name} must be {_WORDS.get(kind) or f'a {kind.__name__}'}, not {_shown(value)}")
    return value


def _is_of(kind: Any, value: Any) -> bool:
    taken = _TAKEN.get(kind)
    if taken is not None:
        return isinstance(value, taken) and (kind is bool or not isinstance(value, bool))
    plain = typing.get_origin(kind) or kind
    return plain is Any or not isinstance(plain, type) or isinstance(value, plain)


def _shown(value: Any) -> str:
    plain = isinstance(value, str | int | float) or value is None
    text = repr(value) if plain else f"one of type {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
