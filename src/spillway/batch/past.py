"""What earlier processes of a run have left in its two files."""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from spillway.batch.results import read_written
from spillway.batch.seen import LineSet
from spillway.batch.sidecar import (
    AnyRecord,
    DamagedRecordError,
    DoneRecord,
    FailRecord,
    NewerSchemaError,
    OpenRecord,
    RunRecord,
    SendRecord,
    WaitRecord,
    check_schema,
    decode,
)
from spillway.core.errors import ConfigError

_BUFFER = 1 << 20


class Past(msgspec.Struct, kw_only=True):
    """The state of a run when a process takes it up.

    Attributes:
        new: there were none.
        written: lines in the output.
        parked: byte offset in the sidecar of each line that is done and not yet in the output; of an ordered run.
        parked_count: how many these are.
        outcomes: lines done by outcome, `ok` or the code of the error; parked ones included.
        paid_pico: what the settled attempts of all processes came to.
        open_pico: what is reserved for each line that was in flight when its process ended.
        failures: failed attempts that count, of lines that are not done.
        adopted: lines in the output whose record was lost with their process, with their checksums.
        output_size: where the last whole line of the output ends.
        sidecar_size: where the last whole record ends.
    """

    header: RunRecord
    new: bool = False
    written: LineSet
    parked: array[int]
    parked_count: int = 0
    outcomes: Counter[str]
    paid_pico: int = 0
    open_pico: dict[int, int] = {}
    failures: dict[int, int] = {}
    adopted: list[tuple[int, int]] = []
    output_size: int = 0
    sidecar_size: int = 0

    def settle_open(self, number: int) -> int:
        """Count what is reserved for a line as paid, and return it."""
        pico = self.open_pico.pop(number, 0)
        self.paid_pico += pico
        return pico

    def is_done(self, number: int) -> bool:
        """Return whether a line needs no more sending."""
        return number in self.written or self.is_parked(number)

    def is_parked(self, number: int) -> bool:
        """Return whether a line is done and waits in the sidecar for its turn."""
        return number < len(self.parked) and self.parked[number] != 0


class _Output:
    """The output as it was read: checksum, place and outcome of each line."""

    def __init__(self, lines: int) -> None:
        self.written = LineSet(lines + 1)
        self.sums = array("I", bytes(4 * (lines + 1)))
        self.places = array("I", bytes(4 * (lines + 1)))
        self.outcomes: Counter[str] = Counter()
        self.size = 0


def no_past(header: RunRecord) -> Past:
    """Return the past of a run that begins."""
    return Past(header=header, new=True, written=LineSet(header.lines + 1), parked=array("Q"), outcomes=Counter())


def read_header(sidecar: Path) -> RunRecord | None:
    """Return what a run is about, None when its first record was never whole.

    Raises:
        ConfigError: it is damaged, or of a later version.
    """
    for _, line, _ in whole_lines(sidecar):
        try:
            check_schema(line)
            record = decode(line)
        except (NewerSchemaError, DamagedRecordError) as error:
            raise ConfigError(f"{sidecar}: byte 0: {error}") from None
        if not isinstance(record, RunRecord):
            raise ConfigError(f"{sidecar}: byte 0: is not the first record of a run")
        return record
    return None


def read_past(output: Path, sidecar: Path, header: RunRecord) -> Past:
    """Return what the files of a run say; nothing is changed.

    Raises:
        ConfigError: one of them is damaged; the message names the byte.

    Complexity: reads both files once, in about 20 bytes of memory a line of the input.
    """
    seen = _read_output(output, header.lines)
    past = no_past(header)
    past.new = False
    past.written, past.outcomes, past.output_size = seen.written, seen.outcomes, seen.size
    if header.ordered:
        past.parked = array("Q", bytes(8 * (header.lines + 1)))
    # One more than the checksum of each line that was recorded as done and not sent again since; 0: none.
    recorded = array("Q", bytes(8 * (header.lines + 1)))
    for offset, line, end in whole_lines(sidecar):
        try:
            record = decode(line)
        except DamagedRecordError as error:
            raise ConfigError(f"{sidecar}: damaged: the record at byte {offset} {error}") from None
        number = getattr(record, "n", 1)
        if not 1 <= number <= header.lines:
            if isinstance(record, (RunRecord, OpenRecord)):
                past.sidecar_size = end
                continue
            raise ConfigError(f"{sidecar}: damaged: the record at byte {offset} speaks of line {number}")
        past.sidecar_size = end
        _take_money(past, record)
        if isinstance(record, DoneRecord):
            recorded[number] = record.sum + 1
            if past.parked and record.line is not None and number not in seen.written:
                past.parked[number] = offset + 1
        elif isinstance(record, (SendRecord, WaitRecord)):
            recorded[number] = 0
            if past.parked:
                past.parked[number] = 0
    _compare(output, seen, recorded, past)
    _count_parked(past, sidecar)
    return past


def parked_line(sidecar: BinaryIO, at: int) -> bytes:
    """Return the output line that the sidecar keeps; `at` is what `Past.parked` says.

    Raises:
        DamagedRecordError: it is not there.
    """
    sidecar.seek(at - 1)
    record = decode(sidecar.readline()[:-1])
    if not isinstance(record, DoneRecord) or record.line is None:
        raise DamagedRecordError("keeps no line")
    line = record.line.encode() + b"\n"
    if zlib.crc32(line) != record.sum:
        raise DamagedRecordError("keeps another line than it speaks of")
    return line


def whole_lines(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Yield `(start, line without its end, end)` of every line that is whole; a partial last one is left out."""
    with path.open("rb", buffering=_BUFFER) as file:
        at = 0
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            end = at + len(raw)
            yield at, raw[:-1], end
            at = end


def _read_output(output: Path, lines: int) -> _Output:
    seen = _Output(lines)
    for place, (offset, line, end) in enumerate(whole_lines(output), 1):
        try:
            number, written = read_written(line)
            if not 1 <= number <= lines:
                raise ValueError(f"speaks of line {number} of {lines}")
            if not seen.written.add(number):
                raise ValueError(f"speaks of line {number} again")
        except ValueError as error:
            raise ConfigError(f"{output}: damaged: the line at byte {offset}: {error}") from None
        seen.sums[number] = zlib.crc32(line + b"\n")
        seen.places[number] = place
        seen.outcomes["ok" if written.error is None else written.error.code] += 1
        seen.size = end
    return seen


def _take_money(past: Past, record: AnyRecord) -> None:
    if isinstance(record, SendRecord):
        past.paid_pico += record.paid
        past.open_pico[record.n] = record.pico
    elif isinstance(record, FailRecord):
        past.failures[record.n] = past.failures.get(record.n, 0) + 1
    elif isinstance(record, (WaitRecord, DoneRecord)):
        past.paid_pico += record.paid
        past.open_pico.pop(record.n, None)
        past.failures.pop(record.n, None)
        if isinstance(record, WaitRecord) and record.failed:
            past.failures[record.n] = record.failed


def _compare(output: Path, seen: _Output, recorded: array[int], past: Past) -> None:
    """Hold the output against its records.

    A line without a record is what a process leaves that is killed between the two, or whose newest records were lost
    with the power: such lines stand behind all others.
    """
    newest = 0
    without: list[int] = []
    for number in range(1, len(recorded)):
        if number not in seen.written:
            continue
        if not recorded[number]:
            without.append(number)
        elif recorded[number] != seen.sums[number] + 1:
            raise ConfigError(f"{output}: damaged: the line at byte {_offset(output, number)} is not what was written")
        else:
            newest = max(newest, seen.places[number])
    for number in without:
        if seen.places[number] < newest:
            raise ConfigError(
                f"{output}: damaged: the line at byte {_offset(output, number)} was not written by this run"
            )
    past.adopted = [(number, seen.sums[number]) for number in sorted(without, key=seen.places.__getitem__)]


def _offset(output: Path, number: int) -> int:
    return next(offset for offset, line, _ in whole_lines(output) if read_written(line)[0] == number)


def _count_parked(past: Past, sidecar: Path) -> None:
    if not any(past.parked):
        return
    with sidecar.open("rb") as file:
        for at in past.parked:
            if at:
                _, written = read_written(parked_line(file, at)[:-1])
                past.outcomes["ok" if written.error is None else written.error.code] += 1
                past.parked_count += 1
