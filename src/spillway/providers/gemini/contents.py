"""Messages as Gemini's contents: turns of parts, with the signatures where they came from.

Sources: https://ai.google.dev/api/caching#Content, https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from spillway.core.request import Message
from spillway.providers.encoding import Losses, unsupported
from spillway.providers.gemini.config import SafetySetting
from spillway.providers.parts import Media, Native, Text, read_parts
from spillway.providers.turns import Block, Call, Conversation, Result, Thought, Turn

RUNTIME = "gemini"
MADE_ID = "call-made-"
"""Begins the ids of calls to which the provider gave none."""

UNSIGNED = "skip_thought_signature_validator"
"""What the provider takes for a call whose signature is not at hand."""

OWN_FIELDS = frozenset({"extra_content", "images", "native_parts"})
"""Fields of an assistant's message that carry what an answer of Gemini's holds beside text and calls."""

_OLD_MODELS = ("gemini-1", "gemini-2")
_PARTS = frozenset(
    {
        "codeExecutionResult",
        "executableCode",
        "fileData",
        "functionCall",
        "functionResponse",
        "inlineData",
        "mediaResolution",
        "partMetadata",
        "text",
        "thought",
        "thoughtSignature",
        "toolCall",
        "toolResponse",
        "videoMetadata",
    }
)
_YOUTUBE = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "youtu.be"})
_CALL_KEYS = frozenset({"extra_content", "provider_specific_fields"})


class Target(msgspec.Struct, frozen=True):
    """Whom a body is for.

    Attributes:
        vertex: Vertex, which knows no ids of calls and no Files API, but labels and `gs://`.
        files: AI Studio: what the id of an uploaded file is appended to.
        safety: sent with every request.
    """

    model: str
    vertex: bool = False
    files: str = ""
    safety: tuple[SafetySetting, ...] = ()

    @property
    def old(self) -> bool:
        """Whether it is a model before Gemini 3, which thinks by budget and asks for no signatures."""
        return self.model.startswith(_OLD_MODELS)


def contents_of(said: Conversation, target: Target, losses: Losses) -> list[dict[str, Any]]:
    """Return the contents of a request.

    The first call of each step since the user last spoke carries its signature, or the word for a call that has none.

    Raises:
        BadRequest: a part has no counterpart; it names the place.
    """
    current = max((at for at, turn in enumerate(said.turns) if _is_asked(turn)), default=-1)
    contents: list[dict[str, Any]] = []
    for at, turn in enumerate(said.turns):
        if turn.side == "user":
            parts = [_part(block, target, losses) for block in turn.blocks]
            contents.append({"role": "user", "parts": parts})
        else:
            parts = _of_model(turn, target, losses, sign=not target.old and at > current)
            if parts:
                contents.append({"role": "model", "parts": parts})
    return contents


def _is_asked(turn: Turn) -> bool:
    """Whether these are a user's words, which begin a turn in the sense of the signatures."""
    if turn.side != "user":
        return False
    return any(
        isinstance(block, Text | Media) or (isinstance(block, Native) and "functionResponse" not in block.part)
        for block in turn.blocks
    )


def _of_model(turn: Turn, target: Target, losses: Losses, *, sign: bool) -> list[dict[str, Any]]:
    built: list[list[dict[str, Any]]] = []
    for block in turn.blocks:
        if isinstance(block, Thought):
            losses.note("messages: thinking_blocks", "another provider's thinking can't be carried")
            built.append([])
            continue
        part = _part(block, target, losses)
        if isinstance(block, Call):
            signature = signature_of(block.extra)
            if signature is None and sign:
                signature = UNSIGNED
            if signature is not None:
                part["thoughtSignature"] = signature
            sign = False
        built.append([part])
    for start, end, message in reversed(turn.own):
        calls_at = next((at for at in range(start, end) if isinstance(turn.blocks[at], Call)), end)
        words = [part for parts in built[start:calls_at] for part in parts]
        built[start:calls_at] = [_with_own(message, words, target, losses)]
    return [part for parts in built for part in parts]


def _with_own(message: Message, words: list[dict[str, Any]], target: Target, losses: Losses) -> list[dict[str, Any]]:
    """Return what a message says before its calls: native parts, its text with its signature, its images."""
    signature = signature_of(message)
    if signature is not None:
        signed = next((part for part in reversed(words) if "text" in part and "thoughtSignature" not in part), None)
        if signed is None:
            words.append(signed := {"text": ""})
        signed["thoughtSignature"] = signature
    native = _native_parts(message.get("native_parts"))
    return [*native, *words, *_images(message.get("images"), target, losses)]


def _native_parts(given: Any) -> Iterator[dict[str, Any]]:
    if not given:
        return
    if not isinstance(given, Sequence) or not all(isinstance(part, Mapping) for part in given):
        raise unsupported("messages: native_parts", RUNTIME, "it must be a list of Gemini's own parts")
    for at, part in enumerate(given):
        yield _native(Native(part, f"messages: native_parts[{at}]"))


def _images(given: Any, target: Target, losses: Losses) -> Iterator[dict[str, Any]]:
    if not given:
        return
    if not isinstance(given, Sequence) or not all(isinstance(part, Mapping) for part in given):
        raise unsupported("messages: images", RUNTIME, "it must be a list of image_url parts")
    for image in given:
        plain = {name: value for name, value in image.items() if name not in {"extra_content", "index"}}
        for media in read_parts([plain], "messages: images", losses, marks=False):
            part = _part(media, target, losses)
            signature = signature_of(image)
            if signature is not None:
                part["thoughtSignature"] = signature
            yield part


def _part(block: Block, target: Target, losses: Losses) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"text": block.text}
    if isinstance(block, Call):
        return {"functionCall": _call(block, target, losses)}
    if isinstance(block, Result):
        return {"functionResponse": _result(block, target, losses)}
    if isinstance(block, Media):
        return _media(block, target, losses)
    if isinstance(block, Native):
        return _native(block, target)
    raise unsupported("messages: thinking_blocks", RUNTIME, "only an assistant thinks")


def _call(block: Call, target: Target, losses: Losses) -> dict[str, Any]:
    call: dict[str, Any] = {"name": block.name, "args": block.arguments}
    if not target.vertex and block.id and not block.id.startswith(MADE_ID):
        call["id"] = block.id
    for name in block.extra.keys() - _CALL_KEYS:
        if block.extra[name]:
            losses.drop(f"messages: tool_calls.{name}", f"the {RUNTIME} runtime can't carry it")
    return call


def _result(block: Result, target: Target, losses: Losses) -> dict[str, Any]:
    if not block.name:
        why = f"no call {block.call_id!r} precedes it and it names no tool"
        raise unsupported("messages: tool_call_id", RUNTIME, why)
    response = {"error" if block.is_error else "output": block.text}
    result: dict[str, Any] = {"name": block.name, "response": response}
    if not target.vertex and block.call_id and not block.call_id.startswith(MADE_ID):
        result["id"] = block.call_id
    if block.mark is not None:
        losses.drop("messages: cache_control", f"the {RUNTIME} runtime can't carry it")
    others = [part for part in block.parts if not isinstance(part, Text)]
    if others and target.old:
        raise unsupported(others[0].where, RUNTIME, f"a tool's result is text for {target.model}")
    if others:
        result["parts"] = [_part(part, target, losses) for part in others]
    return result


def _native(block: Native, target: Target | None = None) -> dict[str, Any]:
    """Return a part of Gemini's own as it is; a `video_url`, which other proxies know, as a file."""
    part = block.part
    if target is not None and part.get("type") == "video_url":
        video = part.get("video_url")
        url = video.get("url") if isinstance(video, Mapping) else video
        if isinstance(url, str) and url:
            head, _, data = url.partition(";base64,")
            if head.startswith("data:"):
                return {"inlineData": {"mimeType": head[5:] or "video/mp4", "data": data}}
            return _by_address(Media(kind="file", where=block.where, url=url), url, target)
    if "type" in part:
        raise unsupported(block.where, RUNTIME, f"{part['type']!r} parts are not known")
    unknown = [name for name in part if _camel(str(name)) not in _PARTS]
    if unknown or not part:
        raise unsupported(block.where, RUNTIME, f"no part of Gemini's has {unknown[0] if unknown else 'nothing in it'}")
    return dict(part)


def _media(block: Media, target: Target, losses: Losses) -> dict[str, Any]:
    if block.data is not None:
        if block.mime is None:
            raise unsupported(block.where, RUNTIME, "its data URL must name a media type")
        blob = {"mimeType": block.mime, "data": block.data}
        if block.name and target.vertex:
            blob["displayName"] = block.name
        elif block.name:
            losses.note(f"{block.where}.file.filename", "AI Studio knows no names of files")
        return {"inlineData": blob}
    if block.file_id is not None:
        if target.vertex:
            raise unsupported(block.where, RUNTIME, "Vertex has no Files API; give a gs:// or https:// address")
        name = block.file_id if block.file_id.startswith("files/") else f"files/{block.file_id}"
        return _file_data(f"{target.files}/{quote(name)}", block.mime)
    return _by_address(block, block.url or "", target)


def _by_address(block: Media, url: str, target: Target) -> dict[str, Any]:
    scheme, host, path = urlsplit(url)[:3]
    if scheme == "gs" and not target.vertex:
        raise unsupported(block.where, RUNTIME, "only Vertex reads gs:// addresses; upload the file and give its URI")
    if scheme not in {"gs", "https"} and not url.startswith(f"{target.files}/files/"):
        raise unsupported(block.where, RUNTIME, f"{scheme or 'such'} addresses are not read; send the data itself")
    mime = block.mime or mimetypes.guess_type(path)[0]
    if mime is None and host in _YOUTUBE:
        mime = "video/mp4" if target.vertex else None
    elif mime is None and target.vertex:
        raise unsupported(block.where, RUNTIME, "Vertex needs its media type: say it in file.format")
    return _file_data(url, mime)


def _file_data(uri: str, mime: str | None) -> dict[str, Any]:
    return {"fileData": {"fileUri": uri} if mime is None else {"mimeType": mime, "fileUri": uri}}


def signature_of(holder: Mapping[str, Any]) -> str | None:
    """Return what Google signs a call, a text or an image with, from where its OpenAI-compatible API puts it."""
    content = holder.get("extra_content")
    google = content.get("google") if isinstance(content, Mapping) else None
    signature = google.get("thought_signature") if isinstance(google, Mapping) else None
    return signature if isinstance(signature, str) else None


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)
