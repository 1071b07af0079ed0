"""Log lines of a process: JSON for machines, words for people, written by a thread, so that no stream waits for it."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from spillway.core.clock import unix_now

ROOT = "spillway"
MOST_PENDING = 10_000
"""Lines that may wait for their writer; what would be one more is dropped, and counted."""

_TOGETHER_S = 0.05
_DANGEROUS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_encode = msgspec.json.Encoder().encode


Fields = Mapping[str, Any] | msgspec.Struct
"""The fields of an event; of a struct those that are its defaults are left out, so they must be None or empty."""


def tell(logger: logging.Logger, level: int, event: str, fields: Fields) -> None:
    """Log an event with fields of its own; what is None or empty is left out of the line.

    Complexity: 1 µs where our writer is all that listens, formatting apart, which the writer does; 0.1 µs where nobody
    does.
    """
    if not logger.isEnabledFor(level):
        return
    above = logger.parent
    if (
        above is not None
        and len(above.handlers) == 1
        and type(writer := above.handlers[0]) is LineWriter
        and not (logger.handlers or logger.filters or writer.filters or above.propagate)
        and logger.propagate
    ):
        writer.take(Event(logger.name, level, event, fields))
        return
    record = logger.makeRecord(logger.name, level, "", 0, event, (), None)
    record.fields = fields
    logger.handle(record)


class Event:
    """What a `LogRecord` would say of an event, for a tenth of its price."""

    __slots__ = ("created", "exc_info", "fields", "levelno", "name", "word")

    def __init__(self, name: str, levelno: int, word: str, fields: Fields) -> None:
        self.name = name
        self.levelno = levelno
        self.word = word
        self.fields = fields
        self.created = unix_now()
        self.exc_info = None

    @property
    def levelname(self) -> str:
        """The level in words."""
        return logging.getLevelName(self.levelno)

    def getMessage(self) -> str:  # noqa: N802 # as of a `LogRecord`
        """Return the event."""
        return self.word


Told = Event | logging.LogRecord


class _Formatter(logging.Formatter):
    """What both formats share.

    Args:
        quotes: whether the words of exceptions are told, which may quote a prompt.
    """

    def __init__(self, *, quotes: bool = False) -> None:
        super().__init__()
        self._quotes = quotes
        self._second = 0
        self._words = ""

    def head(self, record: Told) -> dict[str, Any]:
        """Return what every line begins with."""
        second, micros = divmod(round(record.created * 1_000_000), 1_000_000)
        if second != self._second:
            self._second, self._words = second, f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"
        return {
            "time": f"{self._words}.{micros // 1000:03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }

    def parts(self, record: Told) -> dict[str, Any]:
        """Return the fields of a line, in order; of an exception its type and its place."""
        parts = self.head(record)
        fields = getattr(record, "fields", None)
        if isinstance(fields, msgspec.Struct):
            fields = msgspec.structs.asdict(fields)
        if fields:
            parts.update({name: value for name, value in fields.items() if value is not None and value != ""})
        if record.exc_info and record.exc_info[1] is not None:
            parts["exception"] = _told(record.exc_info[1], quotes=self._quotes)
        return parts


class JsonFormatter(_Formatter):
    """One JSON object a line; no character of it can end the line or command a terminal."""

    def format(self, record: Told) -> str:
        """Return the line."""
        fields = getattr(record, "fields", None)
        try:
            if type(record) is Event and isinstance(fields, msgspec.Struct):
                rest = _encode(fields).decode()
                line = _encode(self.head(record)).decode()[:-1] + (f",{rest[1:]}" if len(rest) > 2 else "}")
            else:
                line = _encode(self.parts(record)).decode()
        except (TypeError, UnicodeEncodeError):
            line = _encode({name: _plain(value) for name, value in self.parts(record).items()}).decode()
        # JSON has no other control character unescaped.
        return line if line.isascii() and "\x7f" not in line else _DANGEROUS.sub(_as_json, line)


class TextFormatter(_Formatter):
    """A line for people: time, level, event, then `name=value`."""

    def format(self, record: Told) -> str:
        """Return the line."""
        parts = self.parts(record)
        at, level, _, event = (parts.pop(name) for name in ("time", "level", "logger", "event"))
        rest = " ".join(f"{name}={_shown(value)}" for name, value in parts.items())
        return f"{at[11:23]} {level:<7} {_escaped(str(event))}{'  ' + rest if rest else ''}"


class LineWriter(logging.Handler):
    """Formats and writes records in a thread of its own, those of 50 ms together.

    Args:
        stream: where lines go; what it raises loses them and nothing else.

    `end` has everything written. To `close` it only flushes: `logging.config` closes all handlers there are, and this
    one goes on.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._due: deque[Told] = deque()
        self._dropped = 0
        self._counting = threading.Lock()
        self._writing = threading.Lock()
        self._some = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write_all, name="spillway-log", daemon=True)
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record; never waits."""
        if record.args:
            record.msg, record.args = record.getMessage(), None
        return self.take(record)

    def take(self, record: Told) -> bool:
        """Take a record or an event; return False where too many wait to be written."""
        if len(self._due) >= MOST_PENDING:
            with self._counting:
                self._dropped += 1
            return False
        self._due.append(record)
        if not self._some.is_set():
            self._some.set()
        return True

    def flush(self) -> None:
        """Write what is left now."""
        self._write()

    def close(self) -> None:
        """Write what is left now; further records are written too."""
        self._write()

    def end(self) -> None:
        """Write what is left and end the thread."""
        self._end.set()
        self._some.set()
        self._thread.join(5.0)
        super().close()

    def _write_all(self) -> None:
        while not self._end.is_set():
            self._some.wait()
            self._end.wait(_TOGETHER_S)
            self._some.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        with self._writing:
            while self._due or self._dropped:
                self._write_some(len(self._due))

    def _write_some(self, count: int) -> None:
        """Write so many lines at once; what comes meanwhile waits, so that its number stays bounded."""
        lines = []
        for _ in range(count):
            record = self._due.popleft()
            try:
                lines.append(self.format(record))  # type: ignore[arg-type] # our formatters take events too
            except Exception as error:  # noqa: BLE001 - a line that can't be told must not end all others
                lines.append(f"a log line of {record.name} could not be formatted: {type(error).__name__}")
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(self.format(logging.makeLogRecord(_lost(dropped))))
        if lines:
            try:
                self._stream.write("\n".join([*lines, ""]))
                self._stream.flush()
            except (OSError, ValueError):
                return


@contextmanager
def logging_to(stream: TextIO, *, level: str = "INFO", form: str = "auto") -> Iterator[None]:
    """Have the `spillway` loggers write to `stream` from here on, and nowhere else, until the end.

    Args:
        level: `DEBUG`, `INFO`, `WARNING` or `ERROR`; at DEBUG exceptions are told in words, which may quote a prompt.
        form: `json`, `text`, or `auto`: text on a terminal, else JSON.

    Raises:
        ValueError: the level or the form is none of these.
    """
    if level.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise ValueError(f"the log level must be DEBUG, INFO, WARNING or ERROR, not {level!r}")
    if form not in {"auto", "json", "text"}:
        raise ValueError(f"the log format must be json, text or auto, not {form!r}")
    words = form == "text" or (form == "auto" and stream.isatty())
    writer = LineWriter(stream)
    formatter = TextFormatter if words else JsonFormatter
    writer.setFormatter(formatter(quotes=level.upper() == "DEBUG"))
    logger = logging.getLogger(ROOT)
    before, others = (logger.level, logger.propagate), logger.handlers[:]
    # No line tells of them, and to ask for the process is a system call.
    asked = logging.logThreads, logging.logProcesses, logging.logMultiprocessing
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logger.handlers[:] = [writer]
    logger.setLevel(level.upper())
    logger.propagate = False
    try:
        yield
    finally:
        logging.logThreads, logging.logProcesses, logging.logMultiprocessing = asked
        logger.removeHandler(writer)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        logger.handlers.extend(others)
        writer.end()


def _told(error: BaseException, *, quotes: bool) -> str:
    """Return the types and places of an exception and of its causes, the newest first."""
    told: list[str] = []
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen and len(told) < 8:
        seen.add(id(each))
        frames = traceback.extract_tb(each.__traceback__)
        places = " < ".join(f"{f.name} ({f.filename.rpartition('/')[2]}:{f.lineno})" for f in reversed(frames[-8:]))
        told.append(f"{type(each).__name__}{f': {each}' if quotes else ''} in {places or '?'}")
        each = each.__cause__ or each.__context__
    return " after ".join(told)


def _lost(count: int) -> dict[str, Any]:
    return {"name": f"{ROOT}.log", "levelno": logging.WARNING, "levelname": "WARNING", "msg": f"{count} lines are lost"}


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    shown = _escaped(str(value))
    return f'"{shown}"' if " " in shown or not shown else shown


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else _escaped(str(value))


def _escaped(text: str) -> str:
    return _DANGEROUS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _as_json(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"
