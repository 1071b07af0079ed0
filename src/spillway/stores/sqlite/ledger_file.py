"""Spend in the state file: batches in, sums out, old slots made coarse. No thread, no clock of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from spillway.stores.sqlite.schema import transaction

if TYPE_CHECKING:
    from spillway.stores.sqlite.entries import Account, Entry

_COARSER = ((900, 7_200), (21_600, 93_600), (86_400, 32 * 86_400))
"""Seconds of a slot, and the age from which finer ones are put together in it."""

FINEST_S = 60

_FOLD = """
INSERT INTO spend VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
  input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
  cached_tokens = cached_tokens + excluded.cached_tokens, pico = pico + excluded.pico,
  estimated_pico = estimated_pico + excluded.estimated_pico
"""
_COARSEN = """
INSERT INTO spend
SELECT slot / :w * :w AS wide, :w, key, deployment, model, sum(requests), sum(input_tokens), sum(output_tokens),
  sum(cached_tokens), sum(pico), sum(estimated_pico)
FROM spend WHERE width < :w AND slot < :before GROUP BY wide, key, deployment, model
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests,
  input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens,
  cached_tokens = cached_tokens + excluded.cached_tokens, pico = pico + excluded.pico,
  estimated_pico = estimated_pico + excluded.estimated_pico
"""


class SpendKey(NamedTuple):
    """What spend is told apart by."""

    slot: int
    key: str
    deployment: str
    model: str


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one deployment, model, key or day has spent.

    Attributes:
        requests: attempts that took tokens.
        cost_pico: pico-USD, of which `estimated_pico` were under way at a kill and count at their estimate.
        margin_pico: what starts after a kill count against the cap beside that, in case it was spent.
    """

    name: str
    requests: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_pico: int
    estimated_pico: int = 0
    margin_pico: int = 0


class Batch:
    """What is not in the file yet.

    Args:
        writer: whose it is.
    """

    def __init__(self, writer: int = 0) -> None:
        self._writer = writer
        self._opened: dict[int, tuple[int, int, str, str, str, int]] = {}
        self._closed: list[tuple[int]] = []
        self._spent: dict[SpendKey, list[int]] = {}
        self._ahead: dict[tuple[str, str], int] = {}
        self.accounts: dict[Account, int] = {}

    def __bool__(self) -> bool:
        return bool(self._opened or self._closed or self._spent or self._ahead or self.accounts)

    def add(self, entries: Iterable[Entry], slot: int) -> None:
        """Take over what was opened and closed; what was both costs the file one sum."""
        for entry in entries:
            if not entry.shown:
                entry.shown = True
                for account in entry.accounts:
                    account.seen += entry.pico
                    self.accounts[account] = account.ahead
                if not entry.closed:
                    journal = entry.journal
                    self._opened[entry.number] = (
                        entry.number, slot, entry.tenant, journal.deployment, journal.model, entry.pico,
                    )  # fmt: skip
                    continue
            elif not entry.closed or entry.folded:
                continue
            elif self._opened.pop(entry.number, None) is None:
                self._closed.append((entry.number,))
            entry.folded = True
            self._fold(entry, slot)

    def allow(self, accounts: Iterable[Account]) -> None:
        """Raise what may be under way unwritten to what is wanted."""
        for account in accounts:
            wanted = account.wanted
            if wanted > account.ahead:
                self._ahead[account.kind, account.name] = wanted
                self.accounts[account] = wanted

    def write(self, connection: sqlite3.Connection) -> None:
        """Put it into the file, whole or not at all.

        Raises:
            sqlite3.Error: not at all.
        """
        with transaction(connection):
            writer = self._writer
            connection.executemany(
                "INSERT INTO open VALUES (?, ?, ?, ?, ?, ?, ?)", [(writer, *row) for row in self._opened.values()]
            )
            connection.executemany(
                "DELETE FROM open WHERE writer = ? AND id = ?", [(writer, *row) for row in self._closed]
            )
            connection.executemany(_FOLD, [(k.slot, FINEST_S, *k[1:], *sums, 0) for k, sums in self._spent.items()])
            connection.executemany(
                "INSERT OR REPLACE INTO ahead VALUES (?, ?, ?, ?)",
                [(writer, *of, pico) for of, pico in self._ahead.items()],
            )

    def _fold(self, entry: Entry, slot: int) -> None:
        usage, journal = entry.usage, entry.journal
        if usage is None and not entry.spent:
            return
        key = SpendKey(slot, entry.tenant, journal.deployment, journal.model)
        sums = self._spent.get(key)
        if sums is None:
            sums = self._spent[key] = [0, 0, 0, 0, 0]
        sums[0] += 1
        if usage is not None:
            sums[1] += usage.input_tokens
            sums[2] += usage.output_tokens
            sums[3] += usage.cached_tokens
        sums[4] += entry.spent


def recover(connection: sqlite3.Connection, now: int, is_over: Callable[[int], bool]) -> int:
    """Count what processes that were killed had under way as spent; return how many attempts that were.

    Args:
        is_over: whether a writer's process has ended.

    Raises:
        sqlite3.Error: nothing was changed.
    """
    with transaction(connection):
        found = connection.execute("SELECT writer FROM open UNION SELECT writer FROM ahead").fetchall()
        attempts = 0
        for (writer,) in found:
            if not is_over(writer):
                continue
            rows = connection.execute(
                "SELECT slot, key, deployment, model, pico FROM open WHERE writer = ?", (writer,)
            ).fetchall()
            attempts += len(rows)
            connection.executemany(
                _FOLD,
                [(slot, FINEST_S, key, name, model, 1, 0, 0, 0, pico, pico) for slot, key, name, model, pico in rows],
            )
            connection.execute("DELETE FROM open WHERE writer = ?", (writer,))
            connection.execute(
                "INSERT INTO margin SELECT :slot, kind, name, pico FROM ahead WHERE writer = :writer AND pico > 0 "
                "ON CONFLICT DO UPDATE SET pico = margin.pico + excluded.pico",
                {"slot": now - now % FINEST_S, "writer": writer},
            )
            connection.execute("DELETE FROM ahead WHERE writer = ?", (writer,))
    return attempts


def coarsen(connection: sqlite3.Connection, now: int) -> None:
    """Put old slots together, so that the file grows with days and not with requests.

    Raises:
        sqlite3.Error: nothing was changed.
    """
    with transaction(connection):
        for width, age in _COARSER:
            before = (now - age) // width * width
            connection.execute(_COARSEN, {"w": width, "before": before})
            connection.execute("DELETE FROM spend WHERE width < ? AND slot < ?", (width, before))
        connection.execute("DELETE FROM margin WHERE slot < ?", (now - 32 * 86_400,))


def spent_by(
    connection: sqlite3.Connection, kind: str, now: float, name: str | None = None
) -> dict[str, list[tuple[float, int]]]:
    """Return `(age in seconds, pico-USD)` of what each deployment or key has spent in the last 31 days.

    A slot is as young as its youngest instant, and what stands in the future is of now: it counts for too long rather
    than for too short.

    Args:
        kind: `deployment` or `key`.
        name: of one only.
    """
    about = {"since": int(now) - 31 * 86_400, "kind": kind, "name": name, "finest": FINEST_S}
    one = "" if name is None else f"AND {kind} = :name"
    found: dict[str, list[tuple[float, int]]] = {}
    for whose, until, pico in connection.execute(
        f"SELECT {kind}, slot + width AS until, sum(pico) FROM spend "  # noqa: S608 - one of two words
        f"WHERE slot + width > :since {one} GROUP BY {kind}, until",
        about,
    ):
        found.setdefault(whose, []).append((max(0.0, now - until), pico))
    for whose, slot, pico in connection.execute(
        "SELECT name, slot, pico FROM margin WHERE kind = :kind AND slot > :since AND (:name IS NULL OR name = :name)",
        about,
    ):
        found.setdefault(whose, []).append((max(0.0, now - slot - FINEST_S), pico))
    return found


def costs_by(connection: sqlite3.Connection, by: str, since: int = 0) -> list[CostRow]:
    """Return what was spent from `since` on, by `deployment`, `model`, `key` or `day` (UTC), in the order of names."""
    what = "date(slot, 'unixepoch')" if by == "day" else by
    rows = connection.execute(
        f"SELECT {what} AS name, requests, input_tokens, output_tokens, cached_tokens, pico, estimated_pico "  # noqa: S608
        "FROM spend WHERE slot >= ?",
        (since,),
    ).fetchall()
    sums: dict[str, list[int]] = {}
    for name, *amounts in rows:
        # Added here: SQLite's sums are of 64 bits.
        so_far = sums.setdefault(name, [0] * 7)
        so_far[:6] = [a + b for a, b in zip(so_far, amounts, strict=False)]
    if by in {"deployment", "key"}:
        for name, pico in connection.execute(
            "SELECT name, pico FROM margin WHERE kind = ? AND slot >= ?", (by, since)
        ).fetchall():
            sums.setdefault(name, [0] * 7)[6] += pico
    return [
        CostRow(
            name=name, requests=s[0], input_tokens=s[1], output_tokens=s[2], cached_tokens=s[3], cost_pico=s[4],
            estimated_pico=s[5], margin_pico=s[6],
        )
        for name, s in sorted(sums.items())
    ]  # fmt: skip
