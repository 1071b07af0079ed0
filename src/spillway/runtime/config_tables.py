"""From TOML tables to option structs: types, unknown keys and secrets, with the place of everything that is wrong."""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from spillway.core.secrets import SOURCES, Secret, SecretRef, fields_of_table
from spillway.runtime.config_errors import Problems, without_text
from spillway.runtime.config_lines import KeyPath

StructT = TypeVar("StructT", bound=msgspec.Struct)

_BAD: Final = object()
_INT64 = 2**63
_PATHS = frozenset({"ca_file", "from_file", "state"})
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KEY_SHAPES = ("AIza", "sk_", "gsk_", "ya29")
_HOW_SECRETS_ARE_WRITTEN = 'write { from_env = "NAME" } or { inline = … }'
_WANTED: Mapping[Any, str] = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
_GOT: Mapping[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "text",
    list: "a list",
    dict: "a table",
}


class Entry(NamedTuple):
    """A value and the table it stands in, which a default shares with no deployment."""

    value: Any
    table: KeyPath


Entries = dict[str, Entry]


class SecretUse(NamedTuple):
    """A secret that the file names.

    Attributes:
        owner: the deployment's name, empty for the gateway's.
        key: the option that holds it.
        ref: where it is read.
        where: its place in the file, as in an error message.
    """

    owner: str
    key: str
    ref: SecretRef
    where: str


def entries(table: Mapping[str, Any], at: KeyPath) -> Entries:
    """Return the entries of one table that stands at `at`."""
    return {key: Entry(value, at) for key, value in table.items()}


class Reader:
    """Reads the tables of one file.

    Args:
        problems: told of everything that is wrong.
        folder: what relative paths start from.
    """

    def __init__(self, problems: Problems, folder: Path) -> None:
        self.problems = problems
        self.secrets: list[SecretUse] = []
        self.owner = ""
        self._folder = folder

    def build(
        self, kind: type[StructT], found: Entries, at: KeyPath, ready: Mapping[str, Any] = types.MappingProxyType({})
    ) -> StructT | None:
        """Return the struct that the entries of the table at `at` make up, None when they make up none.

        Args:
            ready: values that are read already.
        """
        known = fields_of(kind)
        values: dict[str, Any] = dict(ready)
        for key, (value, table) in found.items():
            field = known.get(key)
            if field is None:
                self.problems.unknown_key(key, known, table)
            else:
                values[key] = self.value(field.type, value, table, key)
        missing = [name for name, field in known.items() if field.required and name not in found and name not in ready]
        for name in missing:
            self.problems.add(f"{name} is missing", at)
        if missing or any(value is _BAD for value in values.values()):
            return None
        return self.construct(kind, values, found, at)

    def construct(self, kind: type[StructT], values: dict[str, Any], found: Entries, at: KeyPath) -> StructT | None:
        """Return `kind(**values)`, None when it refuses them."""
        try:
            return kind(**values)
        except (ValueError, TypeError) as error:
            message = without_text(str(error), [entry.value for entry in found.values()])
            key = message.partition(" ")[0].rstrip(":")
            if key in found:
                self.problems.add(message, found[key].table, key)
            else:
                self.problems.add(message, at)
            return None

    def check(self, kind: type[msgspec.Struct], table: Mapping[str, Any], at: KeyPath) -> None:
        """Check keys and types of a table that need not be complete."""
        known = fields_of(kind)
        for key, value in table.items():
            if key in known:
                self.value(known[key].type, value, at, key)
            else:
                self.problems.unknown_key(key, known, at)

    def value(self, kind: Any, value: Any, table: KeyPath, *key: str | int) -> Any:
        """Return the value as `kind`, a mark that is no value when it is none."""
        options = [option for option in _options(kind) if option is not types.NoneType]
        if SecretRef in options:
            return self._secret(options, value, table, *key)
        kind = options[0] if len(options) == 1 else kind
        origin = typing.get_origin(kind)
        if origin is Literal:
            return self._choice(typing.get_args(kind), value, table, *key)
        if origin in {tuple, list}:
            return self._list(typing.get_args(kind)[0], value, table, *key)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            if not isinstance(value, dict):
                return self.wrong("a table", value, table, *key)
            at = (*table, *key)
            built = self.build(kind, entries(value, at), at)
            return _BAD if built is None else built
        if kind in _WANTED:
            return self._plain(kind, value, table, *key)
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return self.wrong(f"a value of type {getattr(kind, '__name__', 'another')}", value, table, *key)

    def _plain(self, kind: type, value: Any, table: KeyPath, *key: str | int) -> Any:
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits:
            return self.wrong(_WANTED[kind], value, table, *key)
        if type(value) is int and not -_INT64 <= value < _INT64:
            self.problems.add(f"{_label(key)}: the number is too large", table, *key)
            return _BAD
        if kind is float:
            return float(value)
        if isinstance(value, str) and key[-1] in _PATHS and (value or key[-1] != "state"):
            return str(self._folder / value)
        return value

    def _choice(self, choices: tuple[str, ...], value: Any, table: KeyPath, *key: str | int) -> Any:
        if not isinstance(value, str):
            return self.wrong(f"one of {', '.join(choices)}", value, table, *key)
        if value in choices:
            return value
        self.problems.not_one_of(value, choices, table, *key)
        return _BAD

    def _list(self, kind: Any, value: Any, table: KeyPath, *key: str | int) -> Any:
        if not isinstance(value, list):
            return self.wrong("a list", value, table, *key)
        found = [self.value(kind, element, table, *key, position) for position, element in enumerate(value)]
        return _BAD if any(element is _BAD for element in found) else tuple(found)

    def _secret(self, options: list[Any], value: Any, table: KeyPath, *key: str | int) -> Any:
        if isinstance(value, list) and any(typing.get_origin(option) is tuple for option in options):
            if not value:
                self.problems.add(f"{_label(key)}: a key pool needs at least one key", table, *key)
                return _BAD
            return self._list(SecretRef | Secret, value, table, *key)
        if not isinstance(value, dict):
            got = _GOT.get(type(value), "a date or time")
            self.problems.add(f"{_label(key)}: expected a table, got {got}; {_HOW_SECRETS_ARE_WRITTEN}", table, *key)
            return _BAD
        at = (*table, *key)
        ref = self._secret_ref(value, at)
        if ref is None:
            return _BAD
        where = f"{self.problems.where(table, *key)} {_label(key)}"
        names = [part for part in at if isinstance(part, str)]
        self.secrets.append(SecretUse(self.owner, ".".join(names[1:] if self.owner else names), ref, where))
        return ref

    def _secret_ref(self, table: Mapping[str, Any], at: KeyPath) -> SecretRef | None:
        known = fields_of(SecretRef)
        values: dict[str, Any] = {}
        of_plugin = "from_plugin" in table
        for key, value in table.items():
            if key not in SOURCES:
                if of_plugin:
                    values[key] = self.value(str, value, at, key)
                else:
                    self.problems.unknown_key(key, SOURCES, at)
            elif key != "inline":
                values[key] = self.value(known[key].type, value, at, key)
            elif isinstance(value, str) and value.strip():
                values[key] = Secret(value)
            else:
                got = "an empty text" if isinstance(value, str) else _GOT.get(type(value), "a date or time")
                self.problems.add(f"inline: expected text, got {got}", at, key)
                values[key] = _BAD
        if any(value is _BAD for value in values.values()) or not values.keys() >= table.keys():
            return None
        name, argv = values.get("from_env"), values.get("from_command")
        if name is not None and (not _ENV_NAME.fullmatch(name) or name.startswith(_KEY_SHAPES)):
            self.problems.add("from_env must be the name of an environment variable", at, "from_env")
            return None
        if argv is not None and not (argv and argv[0]):
            self.problems.add("from_command must be a list that begins with the command", at, "from_command")
            return None
        plugin = values.get("from_plugin")
        if plugin is not None and not self._is_plugin(plugin, at):
            return None
        return self.construct(SecretRef, fields_of_table(values), entries(table, at), at)

    def _is_plugin(self, name: str, at: KeyPath) -> bool:
        from spillway.providers.secret_plugins import ENTRY_POINTS, known_plugins  # noqa: PLC0415 - only where used

        known = known_plugins()
        if name in known:
            return True
        if known:
            self.problems.not_one_of(name, known, at, "from_plugin")
        else:
            message = f"from_plugin: no installed package has an entry point of the group {ENTRY_POINTS}"
            self.problems.add(message, at, "from_plugin")
        return False

    def wrong(self, wanted: str, value: Any, table: KeyPath, *key: str | int) -> Any:
        """Note a value of another type and return the mark that is no value."""
        got = _GOT.get(type(value), "a date or time")
        self.problems.add(f"{_label(key)}: expected {wanted}, got {got}", table, *key)
        return _BAD


@functools.cache
def fields_of(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the keys of a table with their types and defaults."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def table_of(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct behind an option that is a table of its own, None for any other option."""
    for option in _options(kind):
        if isinstance(option, type) and issubclass(option, msgspec.Struct) and option is not SecretRef:
            return option
    return None


def _options(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in {typing.Union, types.UnionType} else (kind,)


def _label(key: tuple[str | int, ...]) -> str:
    return "".join(f"[{part + 1}]" if isinstance(part, int) else part for part in key)
