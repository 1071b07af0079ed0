"""Exports that are loaded when they are first asked for, so that importing a package stays cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def exporter(package: str, homes: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """Return a module's `__getattr__` (PEP 562) that imports each name from its home at its first use.

    Args:
        package: the module that exports them.
        homes: for each module, the names that live in it.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
