"""Content codings that an answer may come in although none was offered, decoded in small steps."""

from __future__ import annotations

import zlib

from spillway.core.errors import ServerError

STEP = 256 * 1024
"""Decoded bytes of one step, whatever a piece from the network would expand to."""

_GZIP = 16 + zlib.MAX_WBITS
_KNOWN = frozenset({"br", "compress", "dcb", "dcz", "zstd"})


class Inflate:
    """Decodes gzip or deflate (zlib-wrapped or raw) bytes as they come.

    Invariants: no step allocates more than `STEP` decoded bytes.
    Complexity: linear in what comes out.
    """

    __slots__ = ("_gzip", "_inner", "_started", "pending")

    def __init__(self, coding: str) -> None:
        self._gzip = coding != "deflate"
        self._inner = zlib.decompressobj(_GZIP)
        self._started = False
        self.pending = b""

    def step(self, data: bytes) -> bytes:
        """Take `data` in and return the next decoded bytes; `pending` is not empty while there may be more.

        Raises:
            ServerError: the bytes are not of that coding (`decode`).
        """
        data = self.pending + data if self.pending else data
        if not data:
            return b""
        try:
            if not self._started:
                self._begin(data[0])
            elif self._inner.eof:
                if not self._gzip:
                    raise ServerError("the answer goes on after its compressed end", reason="decode")
                self._inner = zlib.decompressobj(_GZIP)
            out = self._inner.decompress(data, STEP)
        except zlib.error as exc:
            raise ServerError(f"the answer can't be decompressed: {exc}", reason="decode") from exc
        self.pending = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
        return out

    def finish(self) -> None:
        """Check that the end of the input is the end of the compressed data.

        Raises:
            ServerError: it was cut off (`decode`).
        """
        if self._started and not self._inner.eof:
            raise ServerError("the answer's compressed data is cut off", reason="decode")

    def _begin(self, first: int) -> None:
        self._started = True
        if not self._gzip:
            # RFC 1950: a zlib header has 8 in its low bits; servers send raw deflate (RFC 1951) under the same name.
            self._inner = zlib.decompressobj(zlib.MAX_WBITS if first & 0x0F == 8 else -zlib.MAX_WBITS)


def decoder_for(coding: str | None) -> Inflate | None:
    """Return a decoder for a content-encoding header, None if there is nothing to decode.

    Raises:
        ServerError: it is one we neither offered nor know, or a chain of them (`decode`).
    """
    if coding is None:
        return None
    name = coding.strip().lower()
    if name in {"", "identity"}:
        return None
    if name in {"gzip", "x-gzip", "deflate"}:
        return Inflate(name)
    shown = name if name in _KNOWN else "an unknown one, or several"
    raise ServerError(f"the answer is in a coding that was not asked for: {shown}", reason="decode")
