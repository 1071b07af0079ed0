"""The port of spend that outlives the process: every attempt is written down before it can be forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spillway.core.reply import Usage


class SpendEntry(Protocol):
    """One attempt in the journal, from the instant its money is set aside."""

    def close(self, usage: Usage | None, pico_usd: int) -> None:
        """Put what it came to in place of what was set aside; never fails, and counts once.

        Args:
            usage: its tokens; None: it was refused or never sent.
            pico_usd: what it cost.
        """
        ...


class SpendJournal(Protocol):
    """Writes the attempts of one deployment down, off the path of requests."""

    def hold_up(self, tenant: str, pico_usd: int) -> float:
        """Return the seconds after which it is worth asking again whether an attempt may be opened; 0.0: it may be now.

        Raises:
            BudgetExceeded: nothing can be written down, and a cap would be forgotten.
        """
        ...

    def open(self, tenant: str, pico_usd: int) -> SpendEntry:
        """Begin the entry of an attempt.

        Args:
            tenant: the gateway key it is for; empty: none.
            pico_usd: the most it can cost.
        """
        ...
