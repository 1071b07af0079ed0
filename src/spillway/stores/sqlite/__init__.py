"""The state file: an SQLite database that holds what outlives a process."""

from spillway.stores.sqlite.key_file import KeyFile, KeyLimits, StoredKey
from spillway.stores.sqlite.ledger_file import CostRow
from spillway.stores.sqlite.state import SqliteState

__all__ = ["CostRow", "KeyFile", "KeyLimits", "SqliteState", "StoredKey"]
