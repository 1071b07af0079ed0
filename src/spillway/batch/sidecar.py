"""The file beside the output: what it records, and how it is read back.

One JSON object a line, each ending in a checksum of what stands before it, appended and never changed:

    run    schema, fingerprint of the input, order of the output; the first record
    open   a process has taken the lock
    send   an attempt of a line is about to be sent: what is reserved for it, what earlier ones came to since
    fail   an attempt of a line failed in a way that counts against the line
    wait   a line is not under way any more and will be sent again: what it came to, and
           its failures that still count
    done   a line is on file: what it came to, the checksum of its output line; with `line`, that line itself, which is
           to be moved to the output when its turn comes

A partial last line is what a process leaves that is killed while it writes; anything else that does not fit its
checksum is damage.
"""

from __future__ import annotations

import zlib
from typing import ClassVar

import msgspec

SCHEMA = 1


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="t", omit_defaults=True):
    """A record of the file."""


class RunRecord(Record, frozen=True, kw_only=True, tag="run"):
    """What the run is about."""

    schema: int
    digest: str
    size: int
    lines: int
    ordered: bool = False


class OpenRecord(Record, frozen=True, kw_only=True, tag="open"):
    """A process has taken the lock."""

    pid: int


class SendRecord(Record, frozen=True, kw_only=True, tag="send"):
    """An attempt is about to be sent."""

    n: int
    pico: int = 0
    paid: int = 0


class FailRecord(Record, frozen=True, kw_only=True, tag="fail"):
    """An attempt failed."""

    n: int


class WaitRecord(Record, frozen=True, kw_only=True, tag="wait"):
    """A line waits to be sent again."""

    n: int
    paid: int = 0
    failed: int = 0


class DoneRecord(Record, frozen=True, kw_only=True, tag="done"):
    """A line is on file; `sum` is the CRC-32 of its output line, line end included."""

    n: int
    sum: int
    paid: int = 0
    line: str | None = None


AnyRecord = RunRecord | OpenRecord | SendRecord | FailRecord | WaitRecord | DoneRecord

_TAIL = len(b',"crc":"00000000"}')


class _Head(msgspec.Struct):
    t: str = ""
    schema: int = 0


class DamagedRecordError(ValueError):
    """A record does not fit its checksum."""


class NewerSchemaError(ValueError):
    """The file was written by a later version."""

    template: ClassVar[str] = "was written by a later version (schema {found}; this one reads {known})"

    def __init__(self, found: int) -> None:
        super().__init__(self.template.format(found=found, known=SCHEMA))


_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyRecord] = msgspec.json.Decoder(AnyRecord)
_head = msgspec.json.Decoder(_Head)


def encode(record: Record) -> bytes:
    """Return a record as the line that is appended."""
    return _seal(_encoder.encode(record)[:-1])


def encode_send(number: int, pico: int, paid: int) -> bytes:
    """Return the line of a `SendRecord`.

    Complexity: a microsecond; it is written for every attempt.
    """
    return _seal(b'{"t":"send","n":%d,"pico":%d,"paid":%d' % (number, pico, paid))


def encode_done(number: int, line: bytes, paid: int) -> bytes:
    """Return the line of a `DoneRecord` whose output line is on file."""
    return _seal(b'{"t":"done","n":%d,"sum":%d,"paid":%d' % (number, zlib.crc32(line), paid))


def decode(line: bytes) -> AnyRecord:
    """Return the record of one line, without its line end.

    Raises:
        DamagedRecordError: it does not fit its checksum, or is no record.
    """
    body, seal = line[:-_TAIL], line[-_TAIL:]
    if seal != b',"crc":"%08x"}' % zlib.crc32(body):
        raise DamagedRecordError("does not fit its checksum")
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRecordError(f"is no record: {error}") from None


def check_schema(line: bytes) -> None:
    """Look at the first line of a file before anything else in it is believed.

    Raises:
        NewerSchemaError: it is of a later version.
    """
    try:
        head = _head.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if head.t == "run" and head.schema > SCHEMA:
        raise NewerSchemaError(head.schema)


def _seal(body: bytes) -> bytes:
    return b'%b,"crc":"%08x"}\n' % (body, zlib.crc32(body))
