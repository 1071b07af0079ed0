"""Who spends by a state file: one process, or the workers of one process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from spillway.core.errors import ConfigError
from spillway.stores.sqlite.schema import told

if TYPE_CHECKING:
    from pathlib import Path

MOST_WORKERS = 256
"""Processes that one parent may have write at the same time."""


class ServingLock:
    """A process's right to spend by a state file; the system takes it back when the process ends, however it ends.

    One process at a time has it, and with it the children that it starts: each of them is a writer of its own.

    Args:
        path: the state file; the locks are files beside it.

    Attributes:
        writer: 0, or the number of a child, which no other living one has.
        killed: whether the process that was this writer before did not give it back itself.

    Raises:
        ConfigError: a process that is not our parent has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.writer = 0
        with told(path):
            fd, holder = _take(self._file(0))
            if fd is None:
                if holder != str(os.getppid()):
                    who = f"process {holder}" if holder.isdigit() else "another process"
                    raise ConfigError(f"{path}: {who} serves with this state file; give each its own [cluster] state")
                fd = self._as_child()
        self._fd: int | None = fd
        self.killed = bool(os.pread(fd, 1, 0))
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)

    def is_over(self, writer: int) -> bool:
        """Return whether what stands in the file as that writer's was written by a process that has ended."""
        if writer in {0, self.writer}:
            # Ours was written by whoever was this writer before; a parent of several writes nothing.
            return True
        fd, _ = _take(self._file(writer))
        if fd is None:
            return False
        os.close(fd)
        return True

    def release(self) -> None:
        """Give it back; may be called twice."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)

    def _as_child(self) -> int:
        for writer in range(1, MOST_WORKERS + 1):
            fd, _ = _take(self._file(writer))
            if fd is not None:
                self.writer = writer
                return fd
        raise ConfigError(f"{self._path}: {MOST_WORKERS} processes serve with this state file already")

    def _file(self, writer: int) -> Path:
        return self._path.with_name(f"{self._path.name}.lock{f'-{writer}' if writer else ''}")


def _take(file: Path) -> tuple[int | None, str]:
    """Return a descriptor that holds the lock, or None; and what the last holder has written in it."""
    fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
        os.close(fd)
        return None, holder
    return fd, ""
