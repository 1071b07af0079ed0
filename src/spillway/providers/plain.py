"""What most wires have in common, to be derived from: a bearer key, JSON, errors by status, a final event."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import msgspec

from spillway.core.errors import InferenceError, NetworkError, ServerError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers import refusals
from spillway.providers.answers import StreamWire, Vectors
from spillway.providers.encoding import Losses, unsupported
from spillway.providers.reading import UNREADABLE, reread, unreadable
from spillway.remote.sse import RawEvent

T = TypeVar("T")


def read_json(body: bytes, kind: type[T]) -> T:
    """Return a whole answer's JSON as `kind`; fields that it does not have are ignored.

    Raises:
        ServerError: it can't be read (`empty`, `malformed`, `schema`).
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise unreadable(error, body) from None


class PlainWire(ABC):
    """A `Wire` with the usual answers to everything but how requests and replies are written.

    A subclass sets `kind` and defines `encode_chat`, `decode` and `open_stream`; it overrides what differs from the
    usual. A provider of embeddings overrides `encode` and `decode_vectors`.
    """

    kind: str = ""
    id_headers: tuple[str, ...] = ("x-request-id", "request-id")

    @abstractmethod
    def encode_chat(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body; raises BadRequest for what can't be sent. What is left out goes to `losses`."""

    @abstractmethod
    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole answer's chunks and its own id, `""` without one; raises InferenceError."""

    @abstractmethod
    def open_stream(self) -> StreamWire:
        """Return the state of a new streamed answer."""

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body of a request for an answer; refuse any other."""
        if request.inputs is not None:
            raise unsupported("inputs", self.kind, "there are no embeddings")
        if request.counts:
            raise unsupported("counts", self.kind, "tokens can't be counted there")
        return self.encode_chat(request, losses, stream=stream)

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return JSON's content type and `Authorization: Bearer`."""
        return {"content-type": "application/json", "authorization": f"Bearer {secret.reveal()}"}

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Refuse: there are no embeddings."""
        del body, wanted
        raise unsupported("inputs", self.kind, "there are no embeddings")

    def decode_count(self, body: bytes) -> int:
        """Refuse: tokens can't be counted."""
        del body
        raise unsupported("counts", self.kind, "tokens can't be counted there")

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
        """Return what the status means, `Retry-After` and an OpenAI-shaped error body included."""
        return refusals.of_status(self.kind, status, headers, body)

    def limits(self, headers: Mapping[str, str]) -> LimitsSeen | None:
        """Say nothing of the provider's limits."""
        del headers
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kind}>"


class PlainStream(ABC, Generic[T]):
    """A `StreamWire` of JSON events, one after another, of which one is the last.

    A subclass defines `event`, and sets `finished` there when it sees the provider's terminal marker.

    Args:
        kind: what an event's data is read as; fields that it does not have are ignored.
    """

    def __init__(self, kind: type[T]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self.finished = False
        self.answer_id = ""

    @abstractmethod
    def event(self, name: str, event: T, out: list[TokenChunk]) -> None:
        """Append to `out` what one event carries; `name` is `""` when the stream gave none; raises InferenceError."""

    def take(self, events: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take what came in one read; nothing after the terminal marker counts."""
        for name, data in events:
            if self.finished:
                return
            try:
                event = self._decode(data)
            except UNREADABLE as error:
                event = reread(self._decode, data, error)
            self.event("" if name is None else name.decode("utf-8", "replace"), event, out)

    def end(self, residue: bytes, unended: Sequence[RawEvent], out: list[TokenChunk]) -> None:
        """Take the clean end of the bytes.

        Raises:
            NetworkError: there was no terminal marker (`incomplete`).
        """
        del residue
        last: list[TokenChunk] = []
        try:
            self.take(unended, last)
        except ServerError:
            last.clear()
        if not self.finished:
            raise NetworkError("the stream ended without its terminal marker", reason="incomplete")
        out += last
