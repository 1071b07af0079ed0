"""HTML and SVG in which every text is escaped unless it says that it is markup."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"meta", "br", "col"})

# What has no place in a document, or would turn the direction of the text around it.
_UNSHOWN = dict.fromkeys(
    [
        *(c for c in range(0x20) if c not in {0x09, 0x0A}),
        *range(0x7F, 0xA0),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        *range(0xD800, 0xE000),
        0xFFFE,
        0xFFFF,
    ],
    "\ufffd",
)


class Html(str):
    """A string that is markup already."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Return `text` as markup that shows it; control characters and lone surrogates become U+FFFD."""
    if isinstance(text, Html):
        return text
    return Html(html.escape(text.translate(_UNSHOWN), quote=True))


def join(parts: Iterable[str]) -> Html:
    """Return parts one after the other, each escaped unless it is markup."""
    return Html("".join(map(escaped, parts)))


def tag(name: str, /, *children: str | None, **attributes: str | float | bool | None) -> Html:
    """Return an element.

    Args:
        children: text or markup; None is left out.
        attributes: a trailing `_` is dropped and others become `-`; None and False leave it out, True has no value.
    """
    head = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            head.append(attribute)
        else:
            shown = value if isinstance(value, str) else number(value)
            head.append(f'{attribute}="{escaped(shown)}"')
    opening = f"<{' '.join(head)}>"
    if name in _VOID:
        return Html(opening)
    return Html(f"{opening}{''.join(escaped(child) for child in children if child is not None)}</{name}>")


def number(value: float) -> str:
    """Return a coordinate with two decimals at most."""
    shown = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown
