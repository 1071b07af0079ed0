"""Takes a run up: the lock, the checks, the repair of what a killed process left."""

from __future__ import annotations

import fcntl
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from spillway.batch.files import FileTroubleError, GrowingFile, Syncer, lock, make_name_durable
from spillway.batch.past import Past, no_past, parked_line, read_header, read_past, whole_lines
from spillway.batch.results import read_written
from spillway.batch.sidecar import SCHEMA, DoneRecord, OpenRecord, RunRecord, WaitRecord, encode
from spillway.batch.source import Fingerprint
from spillway.core.errors import ConfigError

SUFFIX = ".spillway"


def sidecar_of(output: Path) -> Path:
    """Return the path of the file beside an output."""
    return output.with_name(output.name + SUFFIX)


def check_output(output: Path, *, resume: bool) -> None:
    """Look whether a run may write to `output`, before the input is read; changes nothing.

    Raises:
        ConfigError: it is there and is not to be resumed, another process writes to it, or it can't be one.
    """
    sidecar = sidecar_of(output)
    if sidecar.exists():
        file = GrowingFile(os.open(sidecar, os.O_RDONLY | os.O_CLOEXEC), sidecar)
        try:
            lock(file, output)
            fcntl.flock(file.fd, fcntl.LOCK_UN)
        finally:
            file.close()
    if not output.exists() and not output.is_symlink():
        if not output.parent.is_dir():
            raise ConfigError(f"{output}: there is no folder {output.parent}")
        return
    if not resume:
        raise ConfigError(f"{output} exists; --resume goes on with it, or name another output")
    if not output.is_file():
        raise ConfigError(f"{output} is not a file that a run has written")
    if not sidecar.exists():
        raise ConfigError(f"{output} can't be resumed: {sidecar.name} is not beside it")


def take_up(
    output: Path,
    about: Fingerprint,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    ordered: bool = False,
    sync: Syncer = os.fsync,
) -> tuple[GrowingFile, GrowingFile, Past]:
    """Return the output, the sidecar (its lock held) and what earlier processes left in them.

    Args:
        about: the fingerprint of the input.
        retry_failed: take the error lines out, in one atomic rewrite.
        ordered: of the output, when the run begins; a run that is resumed stays what it was.

    Raises:
        ConfigError: another process writes to it, another input made it, it is damaged or of a later version.
        FileTroubleError: a file can't be written.
    """
    check_output(output, resume=resume)
    header = RunRecord(schema=SCHEMA, digest=about.digest, size=about.size, lines=about.lines, ordered=ordered)
    sidecar = _open(sidecar_of(output), sync)
    opened = [sidecar]
    try:
        lock(sidecar, output)
        begun = read_header(sidecar.path) if output.exists() else None
        if begun is None:
            if output.exists() and output.stat().st_size:
                raise ConfigError(f"{output} can't be resumed: {sidecar.path.name} does not say how it was begun")
            past = no_past(header)
            sidecar.cut(0)
            sidecar.append(encode(header))
            opened.append(_open(output, sync, new=not resume))
        else:
            _check_begun(begun, header, output)
            past = read_past(output, sidecar.path, begun)
            opened.append(_open(output, sync))
            past = _repair(opened[1], sidecar, past, retry_failed=retry_failed)
            if retry_failed:
                opened.pop().close()
                opened.append(_open(output, sync))
        sidecar.append(encode(OpenRecord(pid=os.getpid())))
        sidecar.make_durable()
        make_name_durable(output)
    except BaseException:
        for file in opened:
            file.close()
        raise
    return opened[1], sidecar, past


def _open(path: Path, sync: Syncer, *, new: bool = False) -> GrowingFile:
    try:
        return GrowingFile.open(path, new=new, sync=sync)
    except FileExistsError:
        raise ConfigError(f"{path} exists; --resume goes on with it, or name another output") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _check_begun(begun: RunRecord, header: RunRecord, output: Path) -> None:
    if begun.digest != header.digest:
        raise ConfigError(
            f"{output} was begun with another input ({begun.lines} lines, {begun.size} bytes; "
            f"this one has {header.lines} and {header.size}); resume with that one, or name another output"
        )
    if header.ordered and not begun.ordered:
        raise ConfigError(f"{output} was begun without --ordered and can't be put in order now")


def _repair(output: GrowingFile, sidecar: GrowingFile, past: Past, *, retry_failed: bool) -> Past:
    """Cut partial lines, and bring the records up to what is on file."""
    if sidecar.size != past.sidecar_size:
        sidecar.cut(past.sidecar_size)
    if output.size != past.output_size:
        output.cut(past.output_size)
    # What was in flight when its process ended may have been billed, so it is paid as reserved.
    for number, checksum in past.adopted:
        sidecar.append(encode(DoneRecord(n=number, sum=checksum, paid=past.settle_open(number))))
    past.adopted.clear()
    for number in list(past.open_pico):
        failed = past.failures.get(number, 0)
        sidecar.append(encode(WaitRecord(n=number, paid=past.settle_open(number), failed=failed)))
    if not retry_failed or past.outcomes.total() == past.outcomes["ok"]:
        return past
    if past.header.ordered:
        cut_at, errors = _park_again(output, sidecar, past)
        sidecar.make_durable()
        _rewrite(output.path, lambda offset, _: offset < cut_at)
        # Not sooner: a line that is in the output needs its record.
        for number in errors:
            sidecar.append(encode(WaitRecord(n=number)))
    else:
        _rewrite(output.path, lambda _, line: read_written(line)[1].error is None)
    return read_past(output.path, sidecar.path, past.header)


def _park_again(output: GrowingFile, sidecar: GrowingFile, past: Past) -> tuple[int, list[int]]:
    """Keep in the sidecar what stands behind the first error line.

    Returns:
        Where that line begins, and the numbers of all error lines.
    """
    errors = []
    with sidecar.path.open("rb") as file:
        for number, at in enumerate(past.parked):
            if at and read_written(parked_line(file, at)[:-1])[1].error is not None:
                errors.append(number)
    cut_at: int | None = None
    for offset, line, _ in whole_lines(output.path):
        number, written = read_written(line)
        if written.error is not None:
            errors.append(number)
            cut_at = offset if cut_at is None else cut_at
        elif cut_at is not None:
            checksum = zlib.crc32(line + b"\n")
            sidecar.append(encode(DoneRecord(n=number, sum=checksum, line=line.decode())))
    return output.size if cut_at is None else cut_at, errors


def _rewrite(output: Path, keep: Callable[[int, bytes], bool]) -> None:
    """Replace the output by those of its lines that `keep(offset, line)` wants, at once and durably."""
    fresh = output.with_name(output.name + SUFFIX + "-new")
    try:
        with fresh.open("wb", buffering=1 << 20) as file:
            for offset, line, _ in whole_lines(output):
                if keep(offset, line):
                    file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(output, fresh)
        fresh.replace(output)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise FileTroubleError(fresh, "can't be written", error) from error
    make_name_durable(output)
