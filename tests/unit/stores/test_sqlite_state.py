"""The state file: what a kill leaves of it, what is told of a bad one, and what is written when."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

import spillway.stores.sqlite.state as state_module
from spillway.core.errors import BudgetExceeded, ConfigError
from spillway.core.reply import Usage
from spillway.stores.sqlite import KeyFile, KeyLimits, SqliteState
from spillway.stores.sqlite.entries import NAP_S
from spillway.stores.sqlite.ledger_file import coarsen, costs_by, spent_by
from spillway.stores.sqlite.schema import MIGRATIONS, open_state

USAGE = Usage(input_tokens=3, output_tokens=4)
USD = 10**12


def rows(path, table):
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT * FROM {table}").fetchall()
    connection.close()
    return found


def abandoned(path, *, cap=USD, opened=0, closed=0):
    """Leave the file as a process does that is killed with so much under way."""
    code = f"""
import asyncio, os, signal, pathlib
from spillway.core.reply import Usage
from spillway.stores.sqlite import SqliteState
async def main():
    state = SqliteState(pathlib.Path({str(path)!r}))
    journal = state.journal("m", "model", {cap})
    state.start()
    for pico in [7] * {closed}:
        journal.open("a", 10).close(Usage(input_tokens=3, output_tokens=4), pico)
    for _ in range({opened}):
        journal.open("a", 10)
    await state.flush()
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL


@pytest.fixture
async def state(tmp_path):
    made = []

    def make(name="s.db"):
        made.append(SqliteState(tmp_path / name))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()


async def test_what_was_spent_is_there_after_an_orderly_end_and_nothing_beside_it(state, tmp_path):
    first = state()
    journal = first.journal("m", "model", USD)
    first.start()
    for tenant, pico in (("a", 5), ("a", 6), ("b", 7)):
        assert journal.hold_up(tenant, 10) == 0.0
        journal.open(tenant, 10).close(USAGE, pico)
    journal.open("a", 10).close(None, 0)
    await first.aclose()
    again = state()
    assert {name: sum(p for _, p in spent) for name, spent in again.spent("key").items()} == {"a": 11, "b": 7}
    assert [p for _, p in again.spent("deployment", "m")["m"]] == [18]
    assert again.spent("deployment", "other") == {}
    assert rows(tmp_path / "s.db", "margin") == []
    (row,) = await again.costs("model")
    assert (row.name, row.requests, row.input_tokens, row.output_tokens, row.cost_pico) == ("model", 3, 9, 12, 18)


async def test_what_was_under_way_at_a_kill_counts_as_spent_with_a_margin_for_what_was_not_written(state, tmp_path):
    abandoned(tmp_path / "s.db", opened=3, closed=2)
    again = state()
    assert again.recovered == 3
    spent = sum(pico for _, pico in again.spent("deployment")["m"])
    assert spent == 3 * 10 + 2 * 7 + USD // 100
    (row,) = await again.costs("deployment")
    assert (row.cost_pico, row.estimated_pico, row.margin_pico, row.requests) == (44, 30, USD // 100, 5)
    (key,) = await again.costs("key")
    assert (key.name, key.cost_pico, key.margin_pico) == ("a", 44, 0)
    await again.aclose()
    # A second kill counts the first one's rest only once.
    abandoned(tmp_path / "s.db", opened=1)
    last = state()
    assert sum(pico for _, pico in last.spent("deployment")["m"]) == 54 + 2 * (USD // 100)


async def test_no_more_is_under_way_unwritten_than_the_file_says(state, monkeypatch):
    one = state()
    journal = one.journal("m", "model", 100 * 100)
    one.start()
    written = threading.Event()
    real = SqliteState._write

    def slow(self, entries):
        assert written.wait(30)
        real(self, entries)

    monkeypatch.setattr(SqliteState, "_write", slow)
    let = 0
    while journal.hold_up("a", 30) == 0.0:
        journal.open("a", 30)
        let += 1
    assert let == 3
    written.set()
    await one.flush()
    assert journal.hold_up("a", 30) == 0.0
    # One that is dearer than the allowance waits until the file allows it.
    assert journal.hold_up("a", 5000) == NAP_S
    await one.flush()
    assert journal.hold_up("a", 5000) == 0.0


async def test_batches_are_at_most_fifty_milliseconds_apart(state, tmp_path):
    one = state()
    journal = one.journal("m", "model", None)
    one.start()
    loop = asyncio.get_running_loop()
    worst = 0.0
    for _ in range(10):
        count = len(rows(tmp_path / "s.db", "open"))
        began = loop.time()
        journal.open("a", 10)
        while len(rows(tmp_path / "s.db", "open")) == count:
            await asyncio.sleep(0.001)
        worst = max(worst, loop.time() - began)
    # A busy machine may hold a thread up; the pause between two writes is 40 ms.
    assert worst < 0.5
    assert state_module.BATCH_S <= 0.04


async def test_a_cap_closes_when_nothing_can_be_written_and_opens_when_it_can(state, caplog, monkeypatch):
    one = state()
    journal = one.journal("m", "model", 10_000)
    free = one.journal("n", "model", None)
    one.start()
    monkeypatch.setattr(state_module, "_RETRY_S", 0.05)
    real = state_module.Batch.write

    def full(self, connection):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(state_module.Batch, "write", full)
    while journal.hold_up("a", 50) == 0.0:
        journal.open("a", 50).close(USAGE, 1)
    while one.failure is None:
        await asyncio.sleep(0.005)
    with pytest.raises(BudgetExceeded, match="spend can't be written down.*disk is full"):
        journal.hold_up("a", 50)
    # What has no cap goes on, and nothing of it is lost.
    assert free.hold_up("a", 10**15) == 0.0
    free.open("a", 10).close(USAGE, 3)
    await one.flush()
    assert caplog.text.count("disk is full") == 1
    monkeypatch.setattr(state_module.Batch, "write", real)
    while one.failure is not None:
        await asyncio.sleep(0.005)
    assert journal.hold_up("a", 50) == 0.0
    assert [(row.name, row.cost_pico) for row in await one.costs("deployment")] == [("m", 2), ("n", 3)]


def test_a_second_process_is_told_who_has_the_file(tmp_path):
    first = SqliteState(tmp_path / "s.db")
    try:
        with pytest.raises(ConfigError, match=rf"s\.db: process {os.getpid()} serves with this state file"):
            SqliteState(tmp_path / "s.db")
    finally:
        asyncio.run(first.aclose())
    asyncio.run(SqliteState(tmp_path / "s.db").aclose())


def foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def damaged(path):
    asyncio.run(SqliteState(path).aclose())
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(b"no database at all" * 100), r"damaged or not one \(file is not a database\)"),
        (damaged, "damaged"),
        (foreign, "this is a database of something else"),
        (newer, r"written by a later version \(schema 99; this one reads 3\)"),
        (lambda path: path.mkdir(), "the state file can't be opened"),
    ],
)
def test_a_bad_file_is_one_line_and_left_as_it_is(tmp_path, spoil, said):
    path = tmp_path / "s.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigError, match=said) as caught:
        SqliteState(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"s\.db: No such file or directory \(\[cluster\] state says where"):
        SqliteState(tmp_path / "none" / "s.db")


def test_a_file_of_an_older_schema_keeps_what_it_holds(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute("INSERT INTO spend VALUES (60, 60, 'a', 'm', 'model', 1, 2, 3, 0, 9, 0)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    asyncio.run(SqliteState(path).aclose())
    connection = open_state(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert costs_by(connection, "key")[0].cost_pico == 9
    assert connection.execute("SELECT count(*) FROM keys").fetchone() == (0,)
    connection.close()


def test_only_its_owner_may_read_it(tmp_path):
    asyncio.run(SqliteState(tmp_path / "s.db").aclose())
    assert (tmp_path / "s.db").stat().st_mode & 0o777 == 0o600


def test_old_slots_become_coarse_and_no_sum_changes(tmp_path):
    connection = open_state(tmp_path / "s.db")
    now = 1_800_000_000
    ages = [0, 60, 5000, 7300, 9000, 90_000, 100_000, 10 * 86_400, 31 * 86_400, 40 * 86_400, 400 * 86_400]
    for age in ages:
        slot = (now - age) // 60 * 60
        connection.execute("INSERT INTO spend VALUES (?, 60, 'a', 'm', 'model', 1, 2, 3, 1, 10, 0)", (slot,))
    before = {day.name: day.cost_pico for day in costs_by(connection, "day")}
    coarsen(connection, now)
    coarsen(connection, now)
    after = costs_by(connection, "day")
    assert {day.name: day.cost_pico for day in after} == before
    (total,) = costs_by(connection, "key")
    assert (total.requests, total.cost_pico) == (len(ages), 10 * len(ages))
    widths = dict(connection.execute("SELECT slot, width FROM spend").fetchall())
    assert {w for slot, w in widths.items() if slot > now - 7200} == {60}
    assert {w for slot, w in widths.items() if now - 93_000 < slot < now - 9000} == {900}
    assert {w for slot, w in widths.items() if slot < now - 33 * 86_400} == {86_400}
    spent = spent_by(connection, "key", now, "a")["a"]
    # 31 days count; never as older than they are.
    assert sum(pico for _, pico in spent) == 10 * 9
    assert all(any(age - 86_400 <= told <= age for age in ages) for told, _ in spent)
    connection.close()


def test_spend_from_the_future_counts_as_of_now(tmp_path):
    """A clock that was set back must not make spend vanish, nor make it negative."""
    connection = open_state(tmp_path / "s.db")
    connection.execute("INSERT INTO spend VALUES (7200, 60, 'a', 'm', 'model', 1, 0, 0, 0, 10, 0)")
    assert spent_by(connection, "key", 3600, "a") == {"a": [(0.0, 10)]}
    connection.close()


async def test_keys_of_another_process_are_told_within_a_second(state, tmp_path):
    one = state()
    told = asyncio.Queue()
    assert one.watch_keys(told.put_nowait) == []
    one.start()
    with KeyFile(tmp_path / "s.db") as file:
        secret = file.create("team", KeyLimits(requests_per_minute=5))
    (key,) = await asyncio.wait_for(told.get(), 5)
    assert (key.name, key.limits.requests_per_minute, len(key.digests)) == ("team", 5, 1)
    with KeyFile(tmp_path / "s.db") as file:
        file.revoke("team")
    (key,) = await asyncio.wait_for(told.get(), 5)
    assert (key.revoked_at is not None, key.digests) == (True, ())
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.reveal().encode() not in content


def test_a_rotated_key_is_known_by_both_secrets_for_as_long_as_is_asked(tmp_path, monkeypatch):
    with KeyFile(tmp_path / "s.db", make=True) as file:
        file.create("team", KeyLimits())
        file.rotate("team", grace_s=60)
        file.rotate("team", grace_s=3600)
        (key,) = file.all()
        now = int(datetime.now(UTC).timestamp())
        ends = sorted((until or 10**12) - now for _, until in key.digests)
        assert len(ends) == 3
        # A second rotation does not make the first secret live longer.
        assert ends[0] <= 60
        assert 3590 <= ends[1] <= 3600
        later = datetime.now(UTC) + timedelta(seconds=61)
        monkeypatch.setattr("spillway.stores.sqlite.key_file.wall_now", lambda: later)
        file.rotate("team")
        assert len(file.all()[0].digests) == 3


async def test_a_file_that_is_moved_away_closes_caps_until_it_is_back(state, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(state_module, "_RETRY_S", 0.05)
    one = state()
    journal = one.journal("m", "model", 10_000)
    one.start()
    (tmp_path / "s.db").rename(tmp_path / "elsewhere")
    while one.failure is None:
        if journal.hold_up("a", 50) == 0.0:
            journal.open("a", 50).close(USAGE, 50)
        await asyncio.sleep(0.001)
    with pytest.raises(BudgetExceeded, match="can't be written down"):
        while True:
            assert journal.hold_up("a", 50) == 0.0
            journal.open("a", 50).close(USAGE, 50)
    assert "s.db" in caplog.text
    (tmp_path / "elsewhere").rename(tmp_path / "s.db")
    while one.failure is not None:
        await asyncio.sleep(0.005)
    assert journal.hold_up("a", 50) == 0.0


def test_a_write_ahead_log_that_somebody_deleted_is_told(tmp_path, caplog):
    abandoned(tmp_path / "s.db", closed=1)
    (tmp_path / "s.db-wal").unlink()
    asyncio.run(SqliteState(tmp_path / "s.db").aclose())
    assert "s.db-wal is gone: what was spent shortly before a kill may be forgotten" in caplog.text
    caplog.clear()
    asyncio.run(SqliteState(tmp_path / "s.db").aclose())
    assert not caplog.text
