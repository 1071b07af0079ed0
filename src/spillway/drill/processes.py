"""Programs that the drill starts, stops, kills and pauses, and of which none outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from spillway.core.clock import loop_clock, sleep

_LEASH = str(Path(__file__).with_name("leash.py"))
_SWEEPER = str(Path(__file__).with_name("sweeper.py"))
_LOOK_S = 0.01
_GRACE_S = 5.0
_LAST_LINES = 3


class DrillError(Exception):
    """The drill can't go on; the message is one line for the user."""


class Program:
    """A program as a process: in a session of its own, so that Ctrl-C is the drill's alone, and on its leash.

    Args:
        name: what messages call it.
        argv: the program and its arguments.
        log: where all that it prints goes, one start after the other.
        environ: all of its environment.
        priority: added to the drill's own niceness.
    """

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, *, environ: Mapping[str, str], priority: int = 0
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self._log = log
        self._environ = dict(environ)
        self._priority = priority
        self._process: subprocess.Popen[bytes] | None = None
        self._printed_from = 0

    def __repr__(self) -> str:
        return f"<Program {self.name} {'running' if self.running else 'not running'}>"

    def start(self) -> None:
        """Start it, once more where it has ended."""
        if self.running:
            raise RuntimeError(f"{self.name} runs already")
        with self._log.open("ab") as log:
            self._printed_from = log.tell()
            leash = [sys.executable, "-I", "-S", _LEASH, str(os.getpid()), str(self._priority)]
            self._process = subprocess.Popen(  # noqa: S603 - its own list
                [*leash, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._log.parent,
                env=self._environ,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def printed(self) -> str:
        """Return what it has printed since it was last started."""
        with self._log.open("rb") as log:
            log.seek(self._printed_from)
            return log.read().decode(errors="replace")

    def last_words(self) -> str:
        """Return the end of what it printed, in one line."""
        return " / ".join(self.printed().strip().splitlines()[-_LAST_LINES:]) or "it printed nothing"

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once and wait until it is gone; idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def ended(self, within_s: float) -> bool:
        """Wait until it has ended; return whether it has in that time."""
        clock = loop_clock()
        until = clock() + within_s
        while self.running and clock() < until:
            await sleep(_LOOK_S)
        return not self.running

    async def stop(self) -> None:
        """Ask it to end, and kill it where it takes too long; idempotent.

        Cancellation: kills it at once.
        """
        try:
            self.send(signal.SIGCONT)
            self.send(signal.SIGTERM)
            await self.ended(_GRACE_S)
        finally:
            self.kill()

    async def says(self, pattern: str, within_s: float) -> str:
        """Wait for a line that begins with `pattern` and return the rest of it.

        Raises:
            DrillError: it ended or took too long before.
        """
        clock = loop_clock()
        until = clock() + within_s
        while True:
            running = self.running
            for line in self.printed().splitlines(keepends=True):
                if line.startswith(pattern) and line.endswith("\n"):
                    return line[len(pattern) :].strip()
            if not running:
                raise DrillError(f"{self.name} ended with {self.code} while it was starting: {self.last_words()}")
            if clock() > until:
                raise DrillError(f"{self.name} did not start within {within_s:g} s: {self.last_words()}")
            await sleep(_LOOK_S)


class Folder:
    """A folder that is gone when the drill is, however it ends; a context manager.

    Args:
        path: it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sweeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._sweeper = subprocess.Popen(  # noqa: S603 - its own list
            [sys.executable, "-I", "-S", _SWEEPER, str(self.path)], stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweeper is not None:
            pipe: IO[bytes] | None = self._sweeper.stdin
            if pipe is not None:
                pipe.close()
            self._sweeper.wait()
