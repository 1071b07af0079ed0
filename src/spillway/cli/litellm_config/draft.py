"""The project file while it is put together, and its text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Draft(msgspec.Struct, kw_only=True):
    """One deployment to be.

    Attributes:
        asked: the name that callers ask for.
        provider: LiteLLM's name of its provider.
        id: `model_info.id`.
        plain: its keys that are not tables.
        tables: its tables by name, without empty ones.
        path: where it stood.
    """

    asked: str
    provider: str
    path: tuple[str | int, ...]
    id: str | None = None
    plain: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}

    def put(self, table: str, **values: Any) -> None:
        """Set keys of a table; None sets nothing."""
        given = {key: value for key, value in values.items() if value is not None}
        if given:
            self.tables.setdefault(table, {}).update(given)


class Project(msgspec.Struct, kw_only=True):
    """The whole of it."""

    gateway: dict[str, Any] = {}
    keys: list[dict[str, Any]] = []
    defaults: dict[str, dict[str, Any]] = {}
    deployments: list[Draft] = []

    def text(self, origin: str) -> str:
        """Return the file; `origin` is what it was made from."""
        parts = [f"# Made by `spillway import litellm` from {_word(origin)}.\n"]
        parts.append(_table("gateway", self.gateway))
        parts += [_table("gateway.keys", key, many=True) for key in self.keys]
        parts += [_table(f"defaults.{name}", values) for name, values in self.defaults.items()]
        for draft in self.deployments:
            tables = [_table(f"deployment.{name}", values) for name, values in draft.tables.items()]
            parts.append("".join([_table("deployment", draft.plain, many=True), *tables]))
        return "\n".join(part for part in parts if part)


def _table(name: str, values: Mapping[str, Any], *, many: bool = False) -> str:
    if not values:
        return ""
    head = f"[[{name}]]" if many else f"[{name}]"
    return "".join([f"{head}\n", *(f"{key} = {_value(value)}\n" for key, value in values.items())])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # TOML wants a digit on both sides of the point, also before an exponent.
        said = repr(value)
        return said if "." in said or "e" not in said else said.replace("e", ".0e")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(each) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(key)} = {_value(each)}' for key, each in value.items())} }}"
    return _word(str(value))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _word(key)


def _word(text: str) -> str:
    # JSON's strings are TOML's but for DEL, and for halves of surrogate pairs, which no file can hold.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007F")
