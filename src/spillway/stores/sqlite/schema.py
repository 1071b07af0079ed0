"""The state file as a file: opened, locked, brought to the newest schema; one line for whatever is wrong with it.

spend      what was spent and how many tokens it took, by slot of time, gateway key, deployment and model
open       attempts whose money is set aside, by writer; those of a writer that is no more count as spent
ahead      how much of a cap may be under way without being written yet, by writer; likewise
margin     what has been counted for that reason
keys       gateway keys and their limits
secrets    the digests by which they are known
marks      how often keys were changed; a number that no other file has
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spillway.core.errors import ConfigError

_SPEND = """
CREATE TABLE spend (
  slot INTEGER NOT NULL, width INTEGER NOT NULL, key TEXT NOT NULL, deployment TEXT NOT NULL, model TEXT NOT NULL,
  requests INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL, pico INTEGER NOT NULL, estimated_pico INTEGER NOT NULL,
  PRIMARY KEY (slot, width, key, deployment, model)
) WITHOUT ROWID;
CREATE TABLE open (
  id INTEGER PRIMARY KEY, slot INTEGER NOT NULL, key TEXT NOT NULL, deployment TEXT NOT NULL, model TEXT NOT NULL,
  pico INTEGER NOT NULL
);
CREATE TABLE ahead (kind TEXT NOT NULL, name TEXT NOT NULL, pico INTEGER NOT NULL, PRIMARY KEY (kind, name))
  WITHOUT ROWID;
CREATE TABLE margin (
  slot INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, pico INTEGER NOT NULL, PRIMARY KEY (slot, kind, name)
) WITHOUT ROWID;
"""
_KEYS = """
CREATE TABLE keys (
  name TEXT PRIMARY KEY, settings TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER
) WITHOUT ROWID;
CREATE TABLE secrets (
  digest BLOB PRIMARY KEY, name TEXT NOT NULL, created_at INTEGER NOT NULL, valid_until INTEGER
) WITHOUT ROWID;
"""
_WRITERS = """
ALTER TABLE open RENAME TO open_of_one;
CREATE TABLE open (
  writer INTEGER NOT NULL, id INTEGER NOT NULL, slot INTEGER NOT NULL, key TEXT NOT NULL, deployment TEXT NOT NULL,
  model TEXT NOT NULL, pico INTEGER NOT NULL, PRIMARY KEY (writer, id)
) WITHOUT ROWID;
INSERT INTO open SELECT 0, id, slot, key, deployment, model, pico FROM open_of_one;
DROP TABLE open_of_one;
ALTER TABLE ahead RENAME TO ahead_of_one;
CREATE TABLE ahead (
  writer INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, pico INTEGER NOT NULL,
  PRIMARY KEY (writer, kind, name)
) WITHOUT ROWID;
INSERT INTO ahead SELECT 0, kind, name, pico FROM ahead_of_one;
DROP TABLE ahead_of_one;
CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO marks VALUES ('keys', 0);
INSERT INTO marks VALUES ('identity', abs(random() / 2));
"""
MIGRATIONS = (_SPEND, _KEYS, _WRITERS)
"""The step at index i brings a file of schema i to schema i + 1."""

_ELSEWHERE = '[cluster] state says where it is; "": none is kept'
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 5000")


def open_state(path: Path, *, make: bool = True, check: bool = True) -> sqlite3.Connection:
    """Return a connection to the state file, of the newest schema; any one thread may use it at a time.

    Args:
        make: create the file when there is none.
        check: look at the whole of it for damage.

    Raises:
        ConfigError: it can't be opened, is no state file, is damaged, or was written by a later version.
    """
    if not make and not path.exists():
        raise ConfigError(f"{path}: there is no state file")
    with told(path):
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
        try:
            _recognize(connection, path)
            with suppress(OSError):
                # It tells who spends how much; SQLite gives its companions the same mode.
                path.chmod(0o600)
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            _migrate(connection)
            verdict = "ok" if not check else connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise ConfigError(f"{path}: the state file is damaged ({_line(verdict)}); move it away to start anew")
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say of the file into one line.

    Raises:
        ConfigError: in place of theirs.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: {reason(error)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or type(error).__name__} ({_ELSEWHERE})") from None


def reason(error: Exception) -> str:
    """Return in words why the file can't be used."""
    said = _line(str(error))
    if isinstance(error, FileNotFoundError):
        return "the state file was moved or deleted"
    if "not a database" in said or "malformed" in said:
        return f"the state file is damaged or not one ({said}); move it away to start anew"
    if "readonly" in said:
        return f"the state file can't be written ({_ELSEWHERE})"
    if "unable to open" in said:
        return f"the state file can't be opened ({_ELSEWHERE})"
    if "locked" in said:
        return "the state file is locked by another program"
    return f"the state file can't be used ({said})"


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Have all that is executed inside happen, durably, or none of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _recognize(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not ours, before anything in it is changed."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(MIGRATIONS):
        raise ConfigError(
            f"{path}: the state file was written by a later version (schema {found}; this one reads {len(MIGRATIONS)})"
        )
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if found == 0 and tables:
        raise ConfigError(f"{path}: this is a database of something else")


def _migrate(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),):
        return
    with transaction(connection):
        # Another process may have been here first.
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        for step in MIGRATIONS[found:]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _line(said: str) -> str:
    return " ".join(said.split())[:200]
