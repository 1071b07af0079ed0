"""The two files of a run as they grow: every result is on file before anything else happens."""

from __future__ import annotations

import asyncio
import zlib
from array import array
from collections import deque
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from spillway.batch.files import FileTroubleError, GrowingFile
from spillway.batch.past import Past, parked_line
from spillway.batch.sidecar import DoneRecord, FailRecord, WaitRecord, encode, encode_done, encode_send
from spillway.core.clock import sleep
from spillway.core.errors import Backpressure

GROUP_S = 0.04
"""Results wait this long for others before they are made durable together; with the disk's own time under 50 ms."""

InThread = Callable[[Callable[[], None]], Awaitable[None]]


class Ledger:
    """Writes results to the output and what must survive a kill to the sidecar.

    Order: the output line first, its record second; of an ordered run, a line whose turn has not come is kept in its
    record, and moved when it has.

    Invariants: a line whose `write` has returned survives the end of the process; within 50 ms that of the machine.

    Args:
        past: what earlier processes left.
        on_trouble: told once that a file can't be written; nothing is sent after that.
        in_thread: runs what blocks on the disk.
    """

    def __init__(
        self,
        output: GrowingFile,
        sidecar: GrowingFile,
        past: Past,
        *,
        on_trouble: Callable[[FileTroubleError], None] = lambda _: None,
        in_thread: InThread = asyncio.to_thread,
    ) -> None:
        self._output = output
        self._sidecar = sidecar
        self._parked: array[int] = past.parked
        self._parked_now: dict[int, int] = {}
        self._ordered = past.header.ordered
        self._new = past.new
        self._turns: deque[int] = deque()
        self._reader: BinaryIO | None = None
        self._dirty = asyncio.Event()
        self._in_thread = in_thread
        self.on_trouble = on_trouble
        self.trouble: FileTroubleError | None = None

    @property
    def turns_ahead(self) -> int:
        """Lines of an ordered run that were read and are not in the output."""
        return len(self._turns)

    def expect(self, number: int) -> None:
        """Take note of a line that was read, in the order of the input."""
        if self._ordered:
            self._turns.append(number)
            if self._turns[0] == number and self.trouble is None:
                try:
                    self._move_on()
                except FileTroubleError as error:
                    self._report(error)

    def write(self, number: int, line: bytes, paid: int) -> None:
        """Put the result of a line on file.

        Raises:
            FileTroubleError: it is not.
        """
        self._guard()
        try:
            if not self._ordered:
                self._output.append(line)
                self._sidecar.append(encode_done(number, line, paid))
            elif self._turns and self._turns[0] == number:
                self._turns.popleft()
                self._output.append(line)
                self._sidecar.append(encode_done(number, line, paid))
                self._move_on()
            else:
                at = self._sidecar.size + 1
                text = line[:-1].decode()
                self._sidecar.append(encode(DoneRecord(n=number, sum=zlib.crc32(line), paid=paid, line=text)))
                self._parked_now[number] = at
        except FileTroubleError as error:
            self._report(error)
            raise
        self._dirty.set()

    def send(self, number: int, pico: int, paid: int) -> None:
        """Record that an attempt of a line is about to be sent.

        Raises:
            Backpressure: it can't be recorded, so it must not be sent.
        """
        try:
            self._guard()
            self._sidecar.append(encode_send(number, pico, paid))
        except FileTroubleError as error:
            self._report(error)
            refusal = Backpressure(str(error), reason="sidecar")
            refusal.final = True
            raise refusal from error
        self._dirty.set()

    def fail(self, number: int) -> None:
        """Record a failed attempt that counts."""
        self._note(FailRecord(n=number))

    def wait(self, number: int, paid: int, failed: int = 0) -> None:
        """Record that a line is not under way any more, with its failures that still count."""
        self._note(WaitRecord(n=number, paid=paid, failed=failed))

    async def keep_durable(self) -> None:
        """Make durable what was written, in groups, until cancelled or in trouble."""
        while self.trouble is None:
            await self._dirty.wait()
            await sleep(GROUP_S)
            self._dirty.clear()
            await self.make_durable()

    async def make_durable(self) -> None:
        """Return once all that was written so far is on disk, or the trouble is reported."""
        try:
            await self._in_thread(self._sync)
        except FileTroubleError as error:
            self._output.distrust()
            self._report(error)

    def withdraw(self) -> None:
        """Remove the files of a run that has just begun and sent nothing; keep all others."""
        if self._new and not self._output.size:
            self._output.path.unlink(missing_ok=True)
            self._sidecar.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Make all of it durable and close both files; the lock is free again."""
        try:
            self._sync()
        except FileTroubleError as error:
            self._output.distrust()
            self._report(error)
        if self._reader is not None:
            self._reader.close()
        self._output.close()
        self._sidecar.close()

    def _sync(self) -> None:
        self._output.make_durable()
        self._sidecar.make_durable()

    def _note(self, record: FailRecord | WaitRecord) -> None:
        if self.trouble is None:
            try:
                self._sidecar.append(encode(record))
            except FileTroubleError as error:
                self._report(error)

    def _move_on(self) -> None:
        """Move parked lines whose turn has come."""
        turns = self._turns
        while turns:
            number = turns[0]
            at = self._parked_now.pop(number, 0) or (self._parked[number] if number < len(self._parked) else 0)
            if not at:
                return
            if self._reader is None:
                self._reader = self._sidecar.path.open("rb")
            self._output.append(parked_line(self._reader, at))
            turns.popleft()

    def _guard(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def _report(self, error: FileTroubleError) -> None:
        if self.trouble is None:
            self.trouble = error
            self.on_trouble(error)

    def __repr__(self) -> str:
        return f"<Ledger {self._output!r} {self._sidecar!r}>"
