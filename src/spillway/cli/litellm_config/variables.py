"""Values that LiteLLM takes from the environment, and secrets, which are never read for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spillway.runtime.config_errors import printable

if TYPE_CHECKING:
    from spillway.cli.litellm_config.findings import Table

_PREFIX = "os.environ/"
_INLINE = 'the secret stands in the file, and now in the new one too; write { from_env = "NAME" } there'


class Variables:
    """What `os.environ/NAME` means.

    Args:
        table: `environment_variables`, which LiteLLM sets at its start.
        environ: where the others are.
    """

    def __init__(self, table: Table, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._given = {name: table.take(name) for name in list(table.names())}
        self._table = table
        self._used: set[str] = set()

    def text(self, table: Table, key: str) -> str | None:
        """Return the text at `key`, as the environment has it now where it is a variable."""
        value = table.text(key)
        name = _variable(value)
        if name is None:
            return value
        found = self._given.get(name) or self._environ.get(name)
        self._used.add(name)
        if not isinstance(found, str) or _variable(found) is not None:
            table.add(key, f"{printable(name)} is not set here; set it and import again, or write the value by hand")
            return None
        return found

    def value(self, name: str) -> str | None:
        """Return a variable as it is now, None when it is not set."""
        self._used.add(name)
        found = self._given.get(name) or self._environ.get(name)
        return found if isinstance(found, str) and found and _variable(found) is None else None

    def secret(self, table: Table, key: str) -> dict[str, str] | None:
        """Return where the secret at `key` is read, as the project file has it; None: it is not there."""
        value = table.text(key)
        name = _variable(value)
        if name is not None and name in self._given:
            self._used.add(name)
            value = str(self._given[name])
            name = _variable(value)
        if name is not None:
            return {"from_env": name}
        if value is None:
            return None
        table.add(key, _INLINE)
        return {"inline": value}

    def leftovers(self) -> None:
        """Say of the variables that nothing above has used that nobody sets them now."""
        for name in self._given:
            if name not in self._used:
                self._table.add(
                    name, "nothing here sets variables; set it where the gateway is started, if it needs it"
                )


def _variable(value: Any) -> str | None:
    return value.removeprefix(_PREFIX) if isinstance(value, str) and value.startswith(_PREFIX) else None
