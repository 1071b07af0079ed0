"""Which recorded exchange answers a request: by method, path and body, whatever the host and the headers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any
from urllib.parse import urlsplit

import msgspec

from spillway.remote.http import HttpRequest
from spillway.testing.record_scrub import MASK
from spillway.testing.replay_file import RecordedRequest, as_json

Match = Callable[[RecordedRequest, RecordedRequest], bool]
"""`match(recorded, asked)`: whether the recorded one's answer is that of the other."""

VOLATILE = ("user", "metadata", "safety_identifier", "prompt_cache_key", "idempotency_key")
"""Fields of a body that change from run to run and decide no answer."""

_LONGEST = 20_000
_COMPARED = 4_000
_TOLD = 3
_LOOKED_AT = 5


def asked(request: HttpRequest) -> RecordedRequest:
    """Return a request in the shape that recorded ones have."""
    parts = urlsplit(request.url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return RecordedRequest(method=request.method, path=path, body=shortened(as_json(request.body)))


def shortened(value: Any) -> Any:
    """Return a JSON value with a digest for every text that is too long for a file (an image in base64)."""
    if isinstance(value, str) and len(value) > _LONGEST:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
        return f"<{len(value)} characters, sha256 {digest}>"
    if isinstance(value, dict):
        return {key: shortened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shortened(each) for each in value]
    return value


def matcher(ignore: Collection[str]) -> Match:
    """Return the usual comparison: equal but for the fields of the body in `ignore`, and for what was masked."""

    def match(recorded: RecordedRequest, asked: RecordedRequest) -> bool:
        return next(differences(recorded, asked, ignore), None) is None

    return match


def differences(recorded: RecordedRequest, asked: RecordedRequest, ignore: Collection[str]) -> Iterator[str]:
    """Yield the places in which two requests differ, in words."""
    if recorded.method != asked.method:
        yield "method"
    if not _same_text(recorded.path, asked.path):
        yield "path"
    yield from _differences("body", _without(recorded.body, ignore), _without(asked.body, ignore))


def nearest(
    recorded: Sequence[tuple[int, RecordedRequest]], wanted: RecordedRequest, ignore: Collection[str]
) -> str | None:
    """Return which of the recorded requests (with their lines) is most like `wanted`, and what is not; None of none."""
    if not recorded:
        return None
    there = [entry for entry in recorded if _same_text(entry[1].path, wanted.path)] or recorded
    matchers = [(SequenceMatcher(None, _text(request), _text(wanted), autojunk=False), line) for line, request in there]
    matchers.sort(key=lambda entry: -entry[0].quick_ratio())
    line = max(matchers[:_LOOKED_AT], key=lambda entry: entry[0].ratio())[1]
    best = dict(there)[line]
    unlike = list(differences(best, wanted, ignore))
    if not unlike:
        return f"line {line} does, and was used already"
    more = f" and {len(unlike) - _TOLD} more" if len(unlike) > _TOLD else ""
    return f"nearest is line {line}, which differs in {', '.join(unlike[:_TOLD])}{more}"


def _text(request: RecordedRequest) -> str:
    return msgspec.json.encode(request.body, order="sorted").decode()[:_COMPARED]


def _without(body: Any, ignore: Collection[str]) -> Any:
    return {key: value for key, value in body.items() if key not in ignore} if isinstance(body, Mapping) else body


def _differences(where: str, recorded: Any, given: Any) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(given, dict):
        for key in sorted(recorded.keys() | given.keys()):
            if key in recorded and key in given:
                yield from _differences(f"{where}.{key}", recorded[key], given[key])
            else:
                yield f"{where}.{key}"
    elif isinstance(recorded, list) and isinstance(given, list):
        for at, (one, other) in enumerate(zip(recorded, given, strict=False)):
            yield from _differences(f"{where}[{at}]", one, other)
        if len(recorded) != len(given):
            yield f"{where}[{min(len(recorded), len(given))}]"
    elif isinstance(recorded, str) and isinstance(given, str):
        if not _same_text(recorded, given):
            yield where
    elif recorded != given or isinstance(recorded, bool) != isinstance(given, bool):
        yield where


def _same_text(recorded: str, given: str) -> bool:
    """Whether two texts are equal; a mask stands for anything."""
    if recorded == given:
        return True
    if MASK not in recorded:
        return False
    pattern = ".+".join(map(re.escape, recorded.split(MASK)))
    return re.fullmatch(pattern, given, re.DOTALL) is not None
