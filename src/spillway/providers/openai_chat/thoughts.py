"""Signed blocks of thinking that come in fragments, as LiteLLM streams them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Thoughts:
    """Puts fragments of `thinking_blocks` together: a signature ends a block, a redacted one is whole by itself."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, Any] | None = None

    def take(self, fragments: Any) -> list[Mapping[str, Any]]:
        """Return the blocks that are whole now."""
        whole: list[Mapping[str, Any]] = []
        for fragment in fragments if isinstance(fragments, list) else ():
            if not isinstance(fragment, Mapping):
                continue
            if fragment.get("type") != "thinking":
                whole += [*self.rest(), fragment]
                continue
            before = self._open or {}
            said = f"{before.get('thinking') or ''}{fragment.get('thinking') or ''}"
            self._open = {**before, **{k: v for k, v in fragment.items() if v is not None}, "thinking": said}
            if fragment.get("signature"):
                whole += self.rest()
        return whole

    def rest(self) -> list[Mapping[str, Any]]:
        """Return the block that no signature ended, if there is one, as whole."""
        block, self._open = self._open, None
        return [] if block is None else [block]
