"""The parts of an OpenAI-shaped message's content, read once for every wire that is not OpenAI's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from spillway.core.errors import BadRequest
from spillway.providers.encoding import Losses

_DATA = "data:"
_FILE_KEYS = frozenset({"file_data", "file_id", "file_url", "filename", "format"})
_AUDIO_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav"}


class Text(msgspec.Struct, frozen=True, gc=False):
    """A piece of text; `mark` is its `cache_control`, when it has one."""

    text: str
    mark: Any = None


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image, a sound or a file: inline, by URL, or by the provider's id of it; exactly one of the three.

    Attributes:
        mime: its media type, where the part tells.
        data: base64.
        name: a file's name.
        mark: its `cache_control`.
        where: its place in the request, for refusals.
        more: the further keys of a file: a title, say.
    """

    kind: Literal["image", "audio", "file"]
    where: str
    mime: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    mark: Any = None
    more: Mapping[str, Any] = {}


class Native(msgspec.Struct, frozen=True):
    """A part of a type that OpenAI's API does not have; its provider knows it, or refuses it."""

    part: Mapping[str, Any]
    where: str


Part = Text | Media | Native


def read_parts(content: Any, where: str, losses: Losses, *, marks: bool, optional: bool = False) -> Iterator[Part]:
    """Yield the parts of a message's content; texts without a character are left out.

    Args:
        where: the content's place in the request.
        marks: whether a part may carry `cache_control`, and a text its citations, which makes it `Native`.
        optional: whether there may be none.

    Raises:
        BadRequest: a part is malformed; it names the place.
    """
    runtime = losses.runtime
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    if content is None and optional:
        return
    if not isinstance(content, Sequence):
        raise BadRequest(f"{where} must be text or a list of parts", provider=runtime)
    for at, part in enumerate(content):
        place = f"{where}[{at}]"
        if isinstance(part, str):
            if part:
                yield Text(part)
            continue
        if not isinstance(part, Mapping):
            raise BadRequest(f"{place} is neither text nor an object", provider=runtime)
        read = _READERS.get(part.get("type", ""))
        if read is None or (marks and part.get("citations") and read is _text):
            yield Native(part, place)
            continue
        mark = part.get("cache_control")
        if mark is not None and not marks:
            losses.drop(f"{place}.cache_control", f"the {runtime} runtime can't carry it")
            mark = None
        found = read(part, place, mark, losses)
        if found is not None:
            yield found


def _text(part: Mapping[str, Any], where: str, mark: Any, losses: Losses) -> Text | None:
    kind = part["type"]
    text = part.get(kind)
    if not isinstance(text, str):
        raise BadRequest(f"{where}.{kind} must be text", provider=losses.runtime)
    for key in part:
        if key not in {"type", kind, "cache_control"} and part[key]:
            losses.drop(f"{where}.{key}", f"the {losses.runtime} runtime can't carry it")
    return Text(text, mark) if text else None


def _image(part: Mapping[str, Any], where: str, mark: Any, losses: Losses) -> Media:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, Mapping) else image
    file_id = image.get("file_id") if isinstance(image, Mapping) else None
    if not url and isinstance(file_id, str) and file_id:
        return Media(kind="image", where=where, file_id=file_id, mark=mark)
    if not isinstance(url, str) or not url:
        raise BadRequest(f"{where}.image_url.url must be text", provider=losses.runtime)
    if isinstance(image, Mapping) and image.get("detail") not in {None, "auto"}:
        losses.note(f"{where}.image_url.detail", f"the {losses.runtime} runtime can't carry it")
    if not url.startswith(_DATA):
        return Media(kind="image", where=where, url=url, mark=mark)
    mime, data = _data_url(url, where, losses.runtime)
    return Media(kind="image", where=where, mime=mime, data=data, mark=mark)


def _audio(part: Mapping[str, Any], where: str, mark: Any, losses: Losses) -> Media:
    audio = part.get("input_audio")
    data = audio.get("data") if isinstance(audio, Mapping) else None
    form = audio.get("format") if isinstance(audio, Mapping) else None
    if not isinstance(data, str) or not isinstance(form, str):
        raise BadRequest(f"{where}.input_audio needs data and format", provider=losses.runtime)
    mime = _AUDIO_TYPES.get(form, f"audio/{form}")
    return Media(kind="audio", where=where, mime=mime, data=data, mark=mark)


def _file(part: Mapping[str, Any], where: str, mark: Any, losses: Losses) -> Media:
    file = part.get("file")
    if not isinstance(file, Mapping):
        raise BadRequest(f"{where}.file must be an object", provider=losses.runtime)
    name = file.get("filename")
    name = name if isinstance(name, str) else None
    more = {key: value for key, value in file.items() if key not in _FILE_KEYS and value is not None}
    given = file.get("file_data")
    if isinstance(given, str):
        mime, data = _data_url(given, where, losses.runtime) if given.startswith(_DATA) else (None, given)
        mime = mime or "application/pdf"
        return Media(kind="file", where=where, mime=mime, data=data, name=name, mark=mark, more=more)
    for key in ("file_id", "file_url"):
        value = file.get(key)
        if isinstance(value, str):
            by_id = key == "file_id" and "://" not in value
            mime = file.get("format") if isinstance(file.get("format"), str) else None
            return Media(
                kind="file",
                where=where,
                mime=mime,
                name=name,
                mark=mark,
                more=more,
                file_id=value if by_id else None,
                url=None if by_id else value,
            )
    raise BadRequest(f"{where}.file needs file_data or file_id", provider=losses.runtime)


def _data_url(url: str, where: str, runtime: str) -> tuple[str | None, str]:
    """Return media type and base64 of a data URL (RFC 2397)."""
    head, comma, data = url[len(_DATA) :].partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadRequest(f"{where}: a data URL must be base64 (data:image/png;base64,…)", provider=runtime)
    return head.removesuffix(";base64").partition(";")[0] or None, data


_READERS = {"text": _text, "refusal": _text, "image_url": _image, "input_audio": _audio, "file": _file}
