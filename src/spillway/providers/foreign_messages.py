"""Messages that were read from Anthropic's words, for a provider that has only OpenAI's, or a part of Anthropic's."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from spillway.core.request import Message
from spillway.providers.encoding import Losses, unsupported
from spillway.providers.takes import Takes

_KNOWN = frozenset({"text", "image_url", "file", "input_audio", "refusal"})
_TEXT_FILE = "data:text/plain;base64,"
_BLOCKS = ("server_blocks", "thinking_blocks")
_CALL_KEYS = frozenset({"id", "type", "function"})
_FILE_KEYS = frozenset({"file_data", "file_id", "file_url", "filename"})


def without_blocks(messages: Iterable[Message], losses: Losses) -> Iterator[Message]:
    """Yield messages without the blocks of Anthropic's own tools, which no proxy takes back, and their order."""
    for at, message in enumerate(messages):
        if "server_blocks" in message or "block_order" in message:
            if message.get("server_blocks"):
                losses.note(f"messages[{at}].server_blocks", f"the {losses.runtime} runtime can't carry it")
            yield {name: value for name, value in message.items() if name not in {"server_blocks", "block_order"}}
        else:
            yield message


def messages_of(messages: Sequence[Message], losses: Losses, takes: Takes) -> Iterator[Message]:
    """Yield messages as `takes` says that the provider has them.

    Pictures and files in results that it can't take there follow the results as a user's message.

    Raises:
        BadRequest: a block has no counterpart, or an answer is begun that the provider can't go on with.
    """
    reader = _Reader(losses, takes)
    for at, message in enumerate(messages):
        if message.get("role") != "tool":
            yield from reader.left_over()
        read = reader.read(message, f"messages[{at}]")
        if read is not None:
            yield read
    yield from reader.left_over()
    last = messages[-1]
    if last.get("role") == "assistant" and not last.get("tool_calls"):
        losses.drop(f"messages[{len(messages) - 1}]", "the API does not go on with an answer that is begun")
    if reader.marked:
        losses.note("cache_control", f"the {losses.runtime} runtime can't carry it")


class _Reader:
    """Reads one message after the other.

    Attributes:
        marked: whether there was a cache mark.
    """

    def __init__(self, losses: Losses, takes: Takes) -> None:
        self.marked = False
        self._losses = losses
        self._takes = takes
        self._moved: list[Mapping[str, Any]] = []

    def left_over(self) -> Iterator[Message]:
        """Yield what the results held that they can't hold here."""
        if self._moved:
            moved, self._moved = self._moved, []
            yield {"role": "user", "content": moved}

    def read(self, message: Message, where: str) -> Message | None:
        """Return one message; None for one of which nothing is left."""
        role, content = message.get("role"), message.get("content")
        if len(message) == 2 and isinstance(content, str):
            return message
        read = {name: value for name, value in message.items() if name != "block_order"}
        self.marked = read.pop("cache_control", None) is not None or self.marked
        if isinstance(content, list):
            read["content"] = self._parts(content, f"{where}.content", result=role == "tool")
        if role == "tool":
            if not self._takes.failures and read.pop("is_error", None):
                self._losses.note(f"{where}.is_error", f"the {self._losses.runtime} runtime can't carry it")
            return read
        if role != "assistant":
            return read
        for name in _BLOCKS:
            if read.pop(name, None):
                self._losses.note(f"{where}.{name}", "another provider's blocks can't be carried")
        if "tool_calls" in read:
            read["tool_calls"] = [self._call(call, where) for call in read["tool_calls"]]
        return read if read.get("content") or "tool_calls" in read else None

    def _call(self, call: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        if call.keys() <= _CALL_KEYS:
            return call
        for name in call.keys() - _CALL_KEYS:
            if name == "cache_control":
                self.marked = True
            else:
                self._losses.note(f"{where}.tool_calls.{name}", f"the {self._losses.runtime} runtime can't carry it")
        return {name: value for name, value in call.items() if name in _CALL_KEYS}

    def _parts(self, parts: Sequence[Any], where: str, *, result: bool) -> list[Any]:
        kept: list[Any] = []
        for at, part in enumerate(parts):
            read = self._part(part, f"{where}[{at}]")
            if result and not self._takes.media and isinstance(read, Mapping) and read.get("type") != "text":
                self._moved.append(read)
            else:
                kept.append(read)
        if result and not kept and parts:
            kept.append({"type": "text", "text": "see the next message"})
        return kept

    def _part(self, part: Any, where: str) -> Any:
        if not isinstance(part, Mapping):
            return part
        kind = part.get("type")
        if not isinstance(kind, str) or kind not in _KNOWN:
            raise unsupported(where, self._losses.runtime, f"there are no blocks of type {str(kind)[:50]!r}")
        read = dict(part)
        self.marked = read.pop("cache_control", None) is not None or self.marked
        for name in read.keys() - {"type", kind}:
            if read.pop(name):
                self._losses.drop(f"{where}.{name}", f"the {self._losses.runtime} runtime can't carry it")
        file = read.get("file")
        if isinstance(file, Mapping):
            return self._file(file, where)
        return read

    def _file(self, file: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        for name in file.keys() - _FILE_KEYS:
            if file[name] and file[name] != {"enabled": False}:
                self._losses.drop(f"{where}.{name}", f"the {self._losses.runtime} runtime can't carry it")
        kept = {name: value for name, value in file.items() if name in _FILE_KEYS}
        data = kept.get("file_data")
        if not isinstance(data, str):
            return {"type": "file", "file": kept}
        if data.startswith(_TEXT_FILE) and not self._takes.text_files:
            return {"type": "text", "text": _text(data, kept.get("filename"))}
        kept.setdefault("filename", "document.pdf")
        return {"type": "file", "file": kept}


def _text(data: str, name: Any) -> str:
    """Return a file of plain text as text, under its name."""
    try:
        text = b64decode(data.removeprefix(_TEXT_FILE)).decode("utf-8", "replace")
    except binascii.Error:
        text = data
    return f"{name}:\n\n{text}" if isinstance(name, str) else text
