"""Bodies that are already in the words of the provider's own API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spillway.core.places import without_places
from spillway.providers.encoding import RESERVED_FIELDS

if TYPE_CHECKING:
    from spillway.core.request import GenerateRequest, NativeBody


def native_of(request: GenerateRequest, wire: str) -> NativeBody | None:
    """Return the native body of a request if it is one of `wire`."""
    native = request.native
    return native if native is not None and native.wire == wire and request.inputs is None else None


def native_fields(native: NativeBody) -> dict[str, Any]:
    """Return its fields as a new dict, without those that only a deployment sets."""
    return {name: value for name, value in without_places(native.body).items() if name not in RESERVED_FIELDS}
