"""YAML as plain data that knows its lines: no object is ever made of it, and no alias blows it up."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from spillway.core.errors import ConfigError
from spillway.runtime.config_errors import printable

LARGEST = 1 << 22
"""Bytes of a file."""

_MOST_VALUES = 200_000
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
)

Path = tuple[str | int, ...]


class Lines:
    """Which line each value of a file stands on."""

    def __init__(self) -> None:
        self._found: dict[Path, int] = {}

    def note(self, path: Path, line: int) -> None:
        """Take note of where the value at `path` begins."""
        self._found[path] = line

    def of(self, path: Path) -> int:
        """Return the line of a value, or of the nearest that holds it."""
        while path and path not in self._found:
            path = path[:-1]
        return self._found.get(path, 1)


def read_yaml(text: str, name: str) -> tuple[Any, Lines]:
    """Return the one document of a text.

    Args:
        name: the file's, for messages.

    Raises:
        ConfigError: it is not YAML, has tags that make objects, or is too large or too deep; one line with its place.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        reader = _Reader(loader)
        return (None if node is None else reader.value(node, ())), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise ConfigError(f"{name}:{line}: not YAML: {printable(error.problem or error.context or '')}") from None
    except yaml.YAMLError:
        raise ConfigError(f"{name}:1: not YAML: it has characters that no YAML may have") from None
    except RecursionError:
        raise ConfigError(f"{name}:1: it nests too deeply") from None
    except _Refused as refused:
        raise ConfigError(f"{name}:{refused.line}: {refused}") from None
    except (ValueError, OverflowError):
        raise ConfigError(f"{name}:1: not YAML: a number or a date that is none") from None


class _Refused(Exception):
    def __init__(self, message: str, node: yaml.Node) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1


class _Reader:
    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.lines = Lines()
        self._loader = loader
        self._within: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        """Return the plain value of a node, which stands at `path`."""
        self._count += 1
        if self._count > _MOST_VALUES:
            raise _Refused(f"more than {_MOST_VALUES:,} values, aliases counted", node)
        if node.tag not in _PLAIN_TAGS:
            raise _Refused(f"the tag {printable(node.tag.replace('tag:yaml.org,2002:', '!!'))} is not plain data", node)
        self.lines.note(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._loader.construct_object(node)
        if id(node) in self._within:
            raise _Refused("an alias of what it stands in", node)
        self._within.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self.value(each, (*path, index)) for index, each in enumerate(node.value)]
        finally:
            self._within.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        self._loader.flatten_mapping(node)
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused("a key that is not a word", key_node)
            key: Hashable = self._loader.construct_object(key_node)
            word = key if isinstance(key, str) else str(key_node.value)
            found[word] = self.value(value_node, (*path, word))
            self.lines.note((*path, word), key_node.start_mark.line + 1)
        return found
