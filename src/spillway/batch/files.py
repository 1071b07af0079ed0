"""Files that only grow, by whole lines, and the lock on a run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Self

from spillway.core.errors import ConfigError

_MODE = 0o666
_OPENED = b'{"t":"open","pid":'
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})

Syncer = Callable[[int], None]


class FileTroubleError(Exception):
    """A file of the run can't be written or is not safely on disk; the message is one line."""

    def __init__(self, path: Path, what: str, error: OSError) -> None:
        super().__init__(f"{path}: {what}: {error.strerror or error}")


class GrowingFile:
    """A file opened for appending.

    Invariants: every `append` is on file whole, or not at all; `size` is where the last whole one ends.

    Args:
        fd: a descriptor opened with O_APPEND.
        sync: makes a descriptor's content durable.
    """

    __slots__ = ("_fd", "_sync", "path", "size", "synced")

    def __init__(self, fd: int, path: Path, *, sync: Syncer = os.fsync) -> None:
        self._fd = fd
        self._sync = sync
        self.path = path
        self.size = os.fstat(fd).st_size
        self.synced = self.size

    @classmethod
    def open(cls, path: Path, *, new: bool = False, sync: Syncer = os.fsync) -> Self:
        """Open `path`, creating it when it is not there.

        Args:
            new: refuse when it is there.

        Raises:
            OSError: it can't be opened.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (os.O_EXCL if new else 0)
        return cls(os.open(path, flags, _MODE), path, sync=sync)

    @property
    def fd(self) -> int:
        """The descriptor."""
        return self._fd

    def append(self, data: bytes) -> None:
        """Write whole lines at the end; a partial write is taken back.

        Raises:
            FileTroubleError: they are not on file.
        """
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise FileTroubleError(self.path, "can't be written", error) from error
        self.size += len(data)

    def cut(self, size: int) -> None:
        """Drop everything behind `size`.

        Raises:
            FileTroubleError: it is still there.
        """
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise FileTroubleError(self.path, "can't be cut", error) from error
        self.size = size
        self.synced = min(self.synced, size)

    def make_durable(self) -> None:
        """Return once all that was appended is on disk; may run in another thread than `append`.

        Raises:
            FileTroubleError: it may not be; nobody knows what of it is, see `distrust`.
        """
        size = self.size
        try:
            self._sync(self._fd)
        except OSError as error:
            raise FileTroubleError(self.path, "can't be made durable", error) from error
        self.synced = size

    def distrust(self) -> None:
        """Drop what may not be on disk although it can still be read: a later success would not speak of it."""
        with contextlib.suppress(FileTroubleError):
            self.cut(self.synced)

    def close(self) -> None:
        """Close it; may be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __repr__(self) -> str:
        return f"<GrowingFile {self.path} {self.size} bytes, {self.synced} durable>"


def make_name_durable(path: Path) -> None:
    """Return once the name of a file that was created or renamed is on disk.

    Raises:
        FileTroubleError: it may not be.
    """
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise FileTroubleError(path.parent, "can't be made durable", error) from error


def lock(file: GrowingFile, output: Path) -> None:
    """Take the lock of a run; it is free again when its process ends, however it ends.

    Raises:
        ConfigError: another process holds it, or the file system has no locks.
    """
    try:
        fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = holder_of(file)
        by = f"process {holder}" if holder else "another process"
        raise ConfigError(f"{output} is in use by {by}") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise ConfigError(
            f"{file.path}: its file system has no locks, which keep two runs apart; put the output elsewhere"
        ) from None


def holder_of(file: GrowingFile) -> int | None:
    """Return the process that took the lock last, as its record says."""
    size = os.fstat(file.fd).st_size
    if not size:
        return None
    with mmap.mmap(file.fd, size, access=mmap.ACCESS_READ) as content:
        at = content.rfind(_OPENED)
        found = re.match(rb"\d+", content[at + len(_OPENED) : at + len(_OPENED) + 20]) if at >= 0 else None
    return int(found[0]) if found else None
