"""What outlives a process: spend, written by a thread of its own, and gateway keys.

An attempt is in the file at the latest 50 ms and one write after its money was set aside. Until then it is covered by
what the file says may be under way unwritten (see `entries.Account`), so that a kill at any instant makes the next
start count too much, never too little: at most each attempt under way at its estimate, and for each cap a hundredth of
it; where single attempts are dearer than that, a twentieth, or the dearest alone.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from spillway.core.clock import monotonic, wall_now
from spillway.stores.sqlite.entries import Account, Entry, Journal
from spillway.stores.sqlite.key_file import mark, read_keys
from spillway.stores.sqlite.ledger_file import FINEST_S, Batch, CostRow, coarsen, costs_by, recover, spent_by
from spillway.stores.sqlite.schema import open_state, reason, told, transaction
from spillway.stores.sqlite.serving_lock import ServingLock

if TYPE_CHECKING:
    from spillway.stores.sqlite.key_file import StoredKey

_logger = logging.getLogger("spillway.state")

BATCH_S = 0.04
"""Seconds between two writes; with a write's own time they are at most 50 ms apart."""

LOOK_S = 0.5
"""Seconds between two looks at whether another process has changed the keys."""

_RETRY_S = 1.0
_COARSEN_S = 3600.0
_LOG_EVERY_S = 60.0


class SqliteState:
    """The state file of one serving process, or of one worker of it.

    Args:
        path: the file; it is made when there is none.

    Attributes:
        failure: why nothing can be written now, in words; None: all is well.
        key_accounts: the caps of gateway keys.
        identity: a number that no other file has.
        recovered: attempts that were under way when an earlier process was killed.

    Raises:
        ConfigError: it can't be used, or a process that is not our parent serves with it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: str | None = None
        self.key_accounts: dict[str, Account] = {}
        self._accounts: dict[tuple[str, str], Account] = {}
        self._pending: deque[Entry] = deque()
        self._number = 0
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._flushed: deque[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = deque()
        self._on_keys: tuple[asyncio.AbstractEventLoop, Callable[[list[StoredKey]], None]] | None = None
        self._again_at = 0.0
        self._lock = ServingLock(path)
        self._batch = Batch(self._lock.writer)
        try:
            if (
                self._lock.killed
                and not self._lock.writer
                and path.exists()
                and not path.with_name(f"{path.name}-wal").exists()
            ):
                _logger.warning("%s-wal is gone: what was spent shortly before a kill may be forgotten", path)
            self._connection = open_state(path)
            with told(path):
                self._place = _place_of(path)
                now = int(wall_now().timestamp())
                self.recovered = recover(self._connection, now, self._lock.is_over)
                coarsen(self._connection, now)
                (self._seen,) = self._connection.execute("PRAGMA data_version").fetchone()
                self.identity = mark(self._connection, "identity")
                self._changes = mark(self._connection, "keys")
        except BaseException:
            self._lock.release()
            raise
        self._coarsened = monotonic()
        if self.recovered:
            _logger.warning("%s: %d attempts were under way at a kill; they count as spent", path, self.recovered)

    # Before it serves.

    def spent(self, kind: str, name: str | None = None) -> dict[str, list[tuple[float, int]]]:
        """Return `(age in seconds, pico-USD)` of what each `deployment` or `key` has spent in the last 31 days.

        Args:
            name: of one only.
        """
        with self._reading() as connection:
            return spent_by(connection, kind, wall_now().timestamp(), name)

    def journal(self, deployment: str, model: str, cap_pico: int | None) -> Journal:
        """Return the journal of a deployment.

        Args:
            cap_pico: the smallest of its caps; None: it has none.
        """
        account = None if cap_pico is None else self._account("deployment", deployment, cap_pico)
        return Journal(self, deployment, model, account)

    def cap_key(self, name: str, cap_pico: int | None) -> None:
        """Take note of a gateway key's cap; None: it has none."""
        if cap_pico is None:
            self.key_accounts.pop(name, None)
        else:
            self.key_accounts[name] = self._account("key", name, cap_pico)
        self.wake()

    def start(self) -> None:
        """Begin to write; what caps allow to be under way is in the file when this returns.

        Raises:
            ConfigError: the file can't be written.
        """
        if self._thread is None:
            with told(self.path):
                self._write(())
            self._thread = threading.Thread(target=self._run, name="spillway-state", daemon=True)
            self._thread.start()

    # While it serves; on the loop.

    def next_number(self) -> int:
        """Return the number of a new entry."""
        self._number += 1
        return self._number

    def put(self, entry: Entry) -> None:
        """Hand an entry that was opened or closed to the writer."""
        pending = self._pending
        pending.append(entry)
        if len(pending) == 1:
            self._wake.set()

    def wake(self) -> None:
        """Have the writer look at what is wanted."""
        self._wake.set()

    def hurry(self) -> None:
        """Have it look at once, because somebody waits for it."""
        self._urgent.set()
        self._wake.set()

    def watch_keys(self, changed: Callable[[list[StoredKey]], None]) -> list[StoredKey]:
        """Return the gateway keys of the file; `changed` is called on this loop when another process changes them."""
        self._on_keys = asyncio.get_running_loop(), changed
        with self._reading() as connection:
            return read_keys(connection)

    async def flush(self) -> None:
        """Return once everything handed over so far is in the file, or can't be written."""
        loop = asyncio.get_running_loop()
        if self._thread is None:
            return
        done: asyncio.Future[None] = loop.create_future()
        self._flushed.append((loop, done))
        self.hurry()
        await done

    async def costs(self, by: str, since: int = 0) -> list[CostRow]:
        """Return what was spent, everything until now included; see `costs_by`."""
        await self.flush()
        return await asyncio.to_thread(self._costs, by, since)

    async def aclose(self) -> None:
        """Write what is left and end; a start after this counts nothing but that. May be called twice."""
        thread, self._thread = self._thread, None
        self._on_keys = None
        await asyncio.to_thread(self._end, thread)

    def _end(self, thread: threading.Thread | None) -> None:
        self._stop.set()
        self.hurry()
        if thread is not None:
            thread.join()
        if self.failure is not None:
            _logger.error("%s: %s; what was spent meanwhile is not in it", self.path, self.failure)
        with suppress(sqlite3.Error):
            if self.failure is None:
                with transaction(self._connection) as connection:
                    connection.execute("DELETE FROM ahead WHERE writer = ?", (self._lock.writer,))
        self._connection.close()
        self._lock.release()

    def _account(self, kind: str, name: str, cap_pico: int) -> Account:
        """Return the one account of a deployment or key."""
        known = self._accounts.get((kind, name))
        if known is None:
            known = self._accounts[kind, name] = Account(kind, name, cap_pico)
        else:
            known.cap(cap_pico)
        return known

    def _costs(self, by: str, since: int) -> list[CostRow]:
        with self._reading() as connection:
            return costs_by(connection, by, since)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Have a connection that is not the writer's."""
        connection = open_state(self.path, make=False, check=False)
        try:
            with told(self.path):
                yield connection
        finally:
            connection.close()

    # In the writer's thread.

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(LOOK_S)
            self._wake.clear()
            self._urgent.clear()
            self._turn()
            if self.failure is None:
                self._urgent.wait(BATCH_S)
            else:
                self._stop.wait(_RETRY_S)
        self._turn()

    def _turn(self) -> None:
        # Who asked before the entries are taken has all of theirs among them.
        waiting = [self._flushed.popleft() for _ in range(len(self._flushed))]
        entries, pending = [], self._pending
        while pending:
            entries.append(pending.popleft())
        try:
            self._write(entries)
            self._look()
        except Exception as error:  # noqa: BLE001 - the writer goes on whatever it meets
            self._failed(error)
        else:
            if self.failure is not None:
                _logger.warning("%s: spend is written down again", self.path)
                self.failure = None
        for loop, done in waiting:
            _on(loop, lambda done=done: done.done() or done.set_result(None))  # type: ignore[misc] # bound at once

    def _write(self, entries: Iterable[Entry]) -> None:
        batch = self._batch
        now = int(wall_now().timestamp())
        batch.add(entries, now - now % FINEST_S)
        batch.allow(tuple(self._accounts.values()))
        if not batch:
            return
        if _place_of(self.path) != self._place:
            raise FileNotFoundError("another file stands in its place")
        batch.write(self._connection)
        for account, ahead in batch.accounts.items():
            account.ahead = max(account.ahead, ahead)
            account.durable = account.seen
        self._batch = Batch(self._lock.writer)

    def _look(self) -> None:
        """Tell of keys that another process has changed, and make old slots coarse once an hour."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version != self._seen:
            # Other workers write all the time; their spend is no news.
            self._seen = version
            changes, self._changes = self._changes, mark(self._connection, "keys")
            told_of = self._on_keys
            if told_of is not None and changes != self._changes:
                loop, changed = told_of
                keys = read_keys(self._connection)
                _on(loop, lambda: changed(keys))
        if monotonic() - self._coarsened > _COARSEN_S:
            self._coarsened = monotonic()
            coarsen(self._connection, int(wall_now().timestamp()))

    def _failed(self, error: Exception) -> None:
        self.failure = reason(error)
        now = monotonic()
        if now >= self._again_at:
            self._again_at = now + _LOG_EVERY_S
            _logger.error("%s: %s; spend is kept in memory until it can be written", self.path, self.failure)

    def __repr__(self) -> str:
        return f"<SqliteState {self.path}{'' if self.failure is None else f', {self.failure}'}>"


def _place_of(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _on(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    # A loop that is closed has nobody left to tell.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
