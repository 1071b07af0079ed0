"""Thought signatures: issued with calls, texts and images, and held against what comes back.

A signature is a hash over the route, the model and what it signs: it fits nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from spillway.sim.ask import BadAsk

SKIPPED = frozenset({"skip_thought_signature_validator", "context_engineering_is_the_way_to_go"})
"""What stands for the signature of a call that the model did not make itself."""

_canonical = msgspec.json.Encoder(order="deterministic").encode
_version = re.compile(r"gemini-(\d+)")


def signs(model: str) -> bool:
    """Tell whether a model signs its texts and wants its signatures back: Gemini 3 and later."""
    match = _version.match(model)
    return match is not None and int(match[1]) >= 3


def sign(dialect: str, model: str, content: object) -> str:
    """Return the signature of a call (`[name, args]`), a text or an image's data."""
    digest = hashlib.blake2b(f"{dialect}\0{model}\0".encode(), digest_size=24, key=b"simulated")
    digest.update(_canonical(content))
    return base64.b64encode(digest.digest()).decode()


def check(dialect: str, model: str, contents: Sequence[Mapping[str, Any]]) -> None:
    """Refuse signatures that are wrong anywhere, and those that are missing since the user last spoke.

    Raises:
        BadAsk: in the provider's words.
    """
    if not signs(model):
        return
    asked = max((at for at, content in enumerate(contents) if _is_asked(content)), default=-1)
    for at, content in enumerate(contents):
        if content.get("role") == "model":
            _check_content(dialect, model, content, at, current=at > asked)


def _is_asked(content: Mapping[str, Any]) -> bool:
    if content.get("role", "user") != "user":
        return False
    return any("functionResponse" not in part for part in content["parts"])


def _check_content(dialect: str, model: str, content: Mapping[str, Any], at: int, *, current: bool) -> None:
    first = True
    text = "".join(part["text"] for part in content["parts"] if isinstance(part.get("text"), str))
    for number, part in enumerate(content["parts"]):
        signature = part.get("thoughtSignature")
        call = part.get("functionCall")
        if call is not None and first and current and not signature:
            raise BadAsk(
                f"Function call `{call.get('name')}` in the {at + 1}. content block is missing a `thought_signature`."
                f" Position {number + 1}."
            )
        first = first and call is None
        if not signature:
            continue
        if call is not None:
            fits = signature in SKIPPED or signature == sign(dialect, model, [call.get("name"), call.get("args") or {}])
        elif "inlineData" in part:
            fits = signature == sign(dialect, model, part["inlineData"].get("data"))
        else:
            fits = "text" in part and signature == sign(dialect, model, text)
        if not fits:
            raise BadAsk("Thought signature is not valid.")
