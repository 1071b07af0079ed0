"""A secret that shows itself nowhere, and the places one can come from."""

from __future__ import annotations

import hmac
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


class SecretRef(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a secret is read from; exactly one of the fields is set.

    Attributes:
        from_env: name of an environment variable.
        from_file: path of a file, read again on every session rebuild; surrounding blanks are dropped.
        from_command: argv of a command whose standard output is the secret, run again on every rebuild.
        inline: the value itself, which `spillway check` warns about.
    """

    from_env: str | None = None
    from_file: str | None = None
    from_command: tuple[str, ...] | None = None
    inline: Secret | None = None

    def __post_init__(self) -> None:
        given = [f for f in ("from_env", "from_file", "from_command", "inline") if getattr(self, f) is not None]
        if len(given) != 1:
            raise ValueError("a secret needs exactly one of from_env, from_file, from_command, inline")
        command: object = self.from_command
        if isinstance(command, list):
            msgspec.structs.force_setattr(self, "from_command", tuple(command))
        elif not isinstance(command, tuple | None):
            raise ValueError("from_command must be a list that begins with the command")  # noqa: TRY004 - see below
        texts = (self.from_env, self.from_file, *(self.from_command or ()))
        if not all(isinstance(text, str | None) for text in texts) or not isinstance(self.inline, Secret | None):
            # One error class for options, so that whoever reads them from a file has one to catch.
            raise ValueError(f"{given[0]} must be text")

    @property
    def place(self) -> str:
        """The source in words, without the value."""
        if self.from_env is not None:
            return f"environment variable {self.from_env}"
        if self.from_file is not None:
            return f"file {self.from_file}"
        if self.from_command is not None:
            return f"command {self.from_command[0]}"
        return "inline value"


SecretLike = Secret | SecretRef
"""What an option that holds a credential accepts."""
