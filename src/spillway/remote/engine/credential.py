"""A credential that the provider refuses: while its source has no other, nothing is sent with it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from spillway.core.clock import Clock
from spillway.core.errors import Unauthorized

if TYPE_CHECKING:
    from spillway.remote.engine.core import Engine

_RECHECK_S = 1.0


class CredentialState:
    """Whether the provider takes the deployment's credential, as far as is known.

    Args:
        clock: the engine's seconds.

    Attributes:
        refused: what it was refused with; None while it is taken.
    """

    __slots__ = ("_checked_at", "_clock", "refused")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._checked_at = -math.inf
        self.refused: Unauthorized | None = None

    def note_refused(self, error: Unauthorized) -> None:
        """Refuse locally from now on, until the source yields another credential or the provider takes this one."""
        self.refused = error
        self._checked_at = self._clock()

    def recheck_due(self) -> bool:
        """Whether the source of a refused credential may be read again; at most once a second says yes."""
        if self.refused is None:
            return False
        now = self._clock()
        if now - self._checked_at < _RECHECK_S:
            return False
        self._checked_at = now
        return True

    def refusal(self) -> Unauthorized:
        """Return what a request is told meanwhile."""
        known = self.refused
        if known is not None and known.reason == "rebuild_failed":
            return Unauthorized(known.message, reason=known.reason)
        return Unauthorized(
            "the provider refused the credential and its source has no other yet",
            reason="same_credential",
            status=None if known is None else known.status,
        )


async def reread_credential(engine: Engine) -> None:
    """Read the source of a refused credential again; what it yields decides the admissions that follow."""
    refused = engine.credential.refused
    # Where no session could be made for want of a credential, any that there is now is another one.
    cause = None if refused is not None and refused.reason == "rebuild_failed" else refused
    with suppress(Exception):
        await engine.rebuild_session(cause)


def reread_credential_beside(engine: Engine) -> None:
    """Do so at most once a second while others answer: nobody is sent to an engine whose credential is refused."""
    if engine.accepting and engine.credential.recheck_due():
        engine.chore(reread_credential(engine))
