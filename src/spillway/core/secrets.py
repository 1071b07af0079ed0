"""A secret that shows itself nowhere, and the places one can come from."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Self

import msgspec


class Secret:
    """A credential. It has no readable form: reveal it where it goes on the wire, nowhere else.

    Invariants: `repr`, `str`, `format`, pickling, copying into JSON and `vars` never show the value; comparison takes
    constant time.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise TypeError("a Secret wraps a str")
        self.__value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self.__value

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash(Secret)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret can't be pickled")


class PluginOptions(Mapping[str, str]):
    """What a secret plugin is told: texts by name, of which a `repr` shows the names only.

    Raises:
        ValueError: one of them is no text; the message begins with its name and shows nothing else.
    """

    __slots__ = ("_given",)

    def __init__(self, given: Mapping[str, str]) -> None:
        for name, value in given.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise ValueError(f"{name} must be text")  # noqa: TRY004 - see SecretRef
        self._given = dict(given)

    def __getitem__(self, name: str) -> str:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __hash__(self) -> int:
        return hash(frozenset(self._given.items()))

    def __repr__(self) -> str:
        return f"<PluginOptions {', '.join(self)}>" if self else "<PluginOptions>"


SOURCES = ("from_env", "from_file", "from_command", "from_plugin", "inline")
"""The keys of a secret's table, one of which says where it is read."""

_NO_OPTIONS = PluginOptions({})


class SecretRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret is read from; exactly one of the fields but `options` is set.

    Attributes:
        from_env: name of an environment variable.
        from_file: path of a file, read again on every session rebuild; surrounding blanks are dropped.
        from_command: argv of a command whose standard output is the secret, run again on every rebuild.
        from_plugin: name of an entry point of the group `spillway.secrets`, asked again on every rebuild.
        options: what the plugin is told; in a table the further keys beside `from_plugin`.
        inline: the value itself, which `spillway check` warns about.
    """

    from_env: str | None = None
    from_file: str | None = None
    from_command: tuple[str, ...] | None = None
    from_plugin: str | None = None
    options: Mapping[str, str] = _NO_OPTIONS
    inline: Secret | None = None

    def __post_init__(self) -> None:
        given = [f for f in SOURCES if getattr(self, f) is not None]
        if len(given) != 1:
            raise ValueError(f"a secret needs exactly one of {', '.join(SOURCES)}")
        command: object = self.from_command
        if isinstance(command, list):
            msgspec.structs.force_setattr(self, "from_command", tuple(command))
        elif not isinstance(command, tuple | None):
            raise ValueError("from_command must be a list that begins with the command")  # noqa: TRY004 - see below
        texts = (self.from_env, self.from_file, self.from_plugin, *(self.from_command or ()))
        if not all(isinstance(text, str | None) for text in texts) or not isinstance(self.inline, Secret | None):
            # One error class for options, so that whoever reads them from a file has one to catch.
            raise ValueError(f"{given[0]} must be text")
        if not isinstance(self.options, PluginOptions):
            msgspec.structs.force_setattr(self, "options", PluginOptions(self.options))
        if self.options and self.from_plugin is None:
            raise ValueError("options are a plugin's: they need from_plugin")

    @property
    def place(self) -> str:
        """The source in words, without the value."""
        if self.from_env is not None:
            return f"environment variable {self.from_env}"
        if self.from_file is not None:
            return f"file {self.from_file}"
        if self.from_command is not None:
            return f"command {self.from_command[0]}"
        if self.from_plugin is not None:
            return f"plugin {self.from_plugin}"
        return "inline value"


SecretLike = Secret | SecretRef
"""What an option that holds a credential accepts."""


def fields_of_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the `SecretRef` that a table describes: keys beside `from_plugin` are its options."""
    if "from_plugin" not in table:
        return dict(table)
    fields = {key: value for key, value in table.items() if key in SOURCES}
    fields["options"] = {key: value for key, value in table.items() if key not in SOURCES}
    return fields
