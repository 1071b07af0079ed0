"""What is about to be written: entries of attempts, and how much of each cap may be under way unwritten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.errors import BudgetExceeded

if TYPE_CHECKING:
    from spillway.core.reply import Usage
    from spillway.stores.sqlite.state import SqliteState

AHEAD_SHARE = 100
"""A cap divided by this may be under way unwritten from the start on."""

MOST_SHARE = 20
"""A cap divided by this is the most that may be, where single attempts are dear; but the dearest alone always may."""

_AT_ONCE = 8

NAP_S = 0.002
"""Seconds until it is worth asking again whether an attempt may be opened."""

_LARGEST = 2**62
_NONE: tuple[Account, ...] = ()


class Account:
    """One cap of a deployment or key, and what of it is under way.

    Attributes:
        ahead: pico-USD that the file says may be under way unwritten; a start counts them as spent.
        wanted: what it should say.
        most: what it may come to say, but for a single attempt that is dearer.
        opened: of all entries ever.
        seen: of those that the writer has taken over.
        durable: of those that are in the file.

    Invariants: opened - durable <= ahead, so that a kill at any instant loses nothing that the file does not cover.
    """

    __slots__ = ("ahead", "durable", "kind", "most", "name", "opened", "seen", "wanted")

    def __init__(self, kind: str, name: str, cap_pico: int) -> None:
        self.kind = kind
        self.name = name
        self.ahead = 0
        self.wanted = 0
        self.most = 0
        self.cap(cap_pico)
        self.opened = 0
        self.seen = 0
        self.durable = 0

    def has_room(self, pico: int) -> bool:
        """Return whether `pico` may be under way now; a larger allowance is asked for where that takes one."""
        if self.opened - self.durable + pico <= self.ahead:
            return True
        self.wanted = max(self.wanted, min(max(pico, min(_AT_ONCE * pico, self.most)), _LARGEST))
        return False

    def cap(self, cap_pico: int) -> None:
        """Take note of the cap; what was once allowed to be under way stays so."""
        self.wanted = max(self.wanted, min(cap_pico // AHEAD_SHARE, _LARGEST))
        self.most = cap_pico // MOST_SHARE


class Entry:
    """One attempt; handed to the writer when it is opened and when it is closed.

    Attributes:
        accounts: the caps that it counts against.
        shown: whether the writer has it among those that are or will be in the file.
        folded: whether the writer has counted its end.
    """

    __slots__ = (
        "_state",
        "accounts",
        "closed",
        "folded",
        "journal",
        "number",
        "pico",
        "shown",
        "spent",
        "tenant",
        "usage",
    )

    def __init__(
        self, state: SqliteState, journal: Journal, number: int, tenant: str, pico: int, accounts: tuple[Account, ...]
    ) -> None:
        self._state = state
        self.journal = journal
        self.accounts = accounts
        self.number = number
        self.tenant = tenant
        self.pico = pico
        self.spent = 0
        self.usage: Usage | None = None
        self.closed = False
        self.shown = False
        self.folded = False

    def close(self, usage: Usage | None, pico_usd: int) -> None:
        """Put what it came to in place of what was set aside; counts once."""
        if not self.closed:
            self.usage = usage
            self.spent = min(pico_usd, _LARGEST)
            self.closed = True
            self._state.put(self)


class Journal:
    """The attempts of one deployment; a `SpendJournal`.

    Args:
        state: where they are written.
        model: what the provider is asked for.
        account: of the deployment's own cap; None without one.
    """

    __slots__ = ("_account", "_accounts", "_state", "deployment", "model")

    def __init__(self, state: SqliteState, deployment: str, model: str, account: Account | None) -> None:
        self._state = state
        self._account = account
        self._accounts = state.key_accounts
        self.deployment = deployment
        self.model = model

    def hold_up(self, tenant: str, pico_usd: int) -> float:
        """Return how long an attempt must wait until enough is written; 0.0: it may be opened.

        Raises:
            BudgetExceeded: the file can't be written, and a cap has no more room for what is not.
        """
        own, key = self._account, self._accounts.get(tenant)
        if (own is None or own.has_room(pico_usd)) and (key is None or key.has_room(pico_usd)):
            return 0.0
        failure = self._state.failure
        if failure is not None:
            raise BudgetExceeded(f"spend can't be written down: {failure}", reason="state")
        self._state.hurry()
        return NAP_S

    def open(self, tenant: str, pico_usd: int) -> Entry:
        """Begin the entry of an attempt, after `hold_up` has let it pass."""
        pico = min(pico_usd, _LARGEST)
        state = self._state
        own, key = self._account, self._accounts.get(tenant)
        accounts = _NONE
        if own is not None or key is not None:
            accounts = tuple(account for account in (own, key) if account is not None)
            for account in accounts:
                account.opened += pico
        entry = Entry(state, self, state.next_number(), tenant, pico, accounts)
        state.put(entry)
        return entry
