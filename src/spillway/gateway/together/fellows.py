"""The other gateways of the same cluster: what they publish is read when somebody looks, orders are told to all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.gateway.together.orders import Order, Outcome, obey
from spillway.gateway.together.published import Published, as_text
from spillway.gateway.together.seen import SeenTogether, left_by, together
from spillway.stores.shared.notices import SLOW_S, Notice, Notices, Reply
from spillway.stores.shared.presence import Pieces, Presence

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.stores.shared import Sharing

FRESH_S = 0.45
"""So long one picture of all serves those who look again and again."""

__all__ = ["Fellows", "SeenTogether"]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order at the others.

    Attributes:
        outcomes: what those who have answered say.
        silent: how many have not.
    """

    outcomes: list[Outcome]
    silent: int

    @property
    def failed(self) -> list[str]:
        """Return who could not do it, and why."""
        return [f"worker {one.worker}: {one.failed}" for one in self.outcomes if one.failed is not None]

    def words(self) -> str:
        """Return what must be said of workers that have not answered; empty: all have."""
        if not self.silent:
            return ""
        asked = len(self.outcomes) + self.silent + 1
        have = "has" if self.silent == 1 else "have"
        return f"; {self.silent} of {asked} workers {have} not answered in time"


class Fellows:
    """One gateway among those that share a store; both sides of its presence and its notices.

    Args:
        sharing: its part in what they share.
    """

    def __init__(self, gateway: Gateway, sharing: Sharing) -> None:
        self._gateway = gateway
        self._sharing = sharing
        self._published = Published(gateway, sharing.node)
        self._presence = Presence(sharing, self)
        self._notices = Notices(sharing, self._heard)
        self._obeying: set[asyncio.Task[None]] = set()
        self._seen: SeenTogether | None = None
        self._seen_at = float("-inf")
        sharing.syncing.add(self._presence)
        sharing.syncing.add(self._notices)

    @property
    def worker(self) -> str:
        """What this process is called."""
        return self._published.worker

    def publish(self) -> Pieces:
        """Return all pieces of this gateway, as texts."""
        return {name: as_text(piece) for name, piece in self._published.read().items()}

    def fold(self, behind: str, nodes: list[Pieces]) -> str:
        """Return what stays of `nodes` and of all before them."""
        return as_text(together([_read({"all": behind}).get("all", {}), *(left_by(_read(each)) for each in nodes)]))

    def begin_anew(self) -> None:
        """Publish only what happens from now on."""
        self._published.begin_anew()

    def changed(self) -> None:
        """Have the next look see what was just done."""
        self._seen_at = float("-inf")
        self._presence.hurry()

    async def look(self, *, again: bool = False) -> SeenTogether:
        """Return all gateways as they are now; the others as they were a second ago at the most, while they live.

        Args:
            again: for whoever looks again and again, the same for some tenths of a second.
        """
        now = self._sharing.clock()
        if again and self._seen is not None and now - self._seen_at < FRESH_S:
            return self._seen
        await self._presence.read()
        alive, dead, silent = [], [_read({"all": self._presence.behind}).get("all", {})], {}
        for fellow in self._presence.fellows:
            pieces = _read(fellow.pieces)
            if fellow.alive and "now" in pieces:
                alive.append(pieces)
                if fellow.silent_s > SLOW_S:
                    silent.update({row["worker"]: fellow.silent_s for row in pieces["now"]["workers"]})
            else:
                dead.append(pieces)
        console = self._gateway.console
        own = msgspec.json.decode(as_text(self._published.read()))
        # What only grows is told as the store has it: no other gateway that is asked next tells less.
        own.update({name: piece for name, piece in _read(self._presence.published).items() if name == "counts"})
        self._seen = SeenTogether(own, alive, dead, at=console.epoch + console.now(), silent=silent)
        self._seen_at = now
        return self._seen

    async def order(self, order: Order) -> Done:
        """Have all others do something, and return once they have, or once their time is over."""
        answers = await self._notices.ask(as_text(order), stands=order.stands, within_s=order.within_s)
        self.changed()
        outcomes = [msgspec.json.decode(text, type=Outcome) for text in answers.by_node.values()]
        if not answers.posted:
            known = sum(fellow.alive for fellow in self._presence.fellows)
            return Done(outcomes=outcomes, silent=known)
        return Done(outcomes=sorted(outcomes, key=lambda one: one.worker), silent=len(answers.missing))

    async def aclose(self) -> None:
        """End what is being done for others."""
        obeying = list(self._obeying)
        for task in obeying:
            task.cancel()
        await asyncio.gather(*obeying, return_exceptions=True)

    def _heard(self, notice: Notice, reply: Reply) -> None:
        task = asyncio.get_running_loop().create_task(self._obey(notice, reply))
        self._obeying.add(task)
        task.add_done_callback(self._obeying.discard)

    async def _obey(self, notice: Notice, reply: Reply) -> None:
        try:
            order = msgspec.json.decode(notice.text, type=Order)
        except msgspec.MsgspecError:
            outcome = Outcome(worker=self.worker, failed="it is of another version, and does not understand this")
        else:
            outcome = await obey(self._gateway, order, self.worker, age_s=notice.age_s, stood=notice.stood)
        self.changed()
        reply(as_text(outcome))

    def __repr__(self) -> str:
        return f"<Fellows {self.worker} {self._presence!r}>"


def _read(pieces: Pieces) -> dict[str, Any]:
    """Return pieces as values, without those that can't be read: another version may publish otherwise."""
    found = {}
    for name, text in pieces.items():
        try:
            found[name] = msgspec.json.decode(text) if text else {}
        except msgspec.DecodeError:
            continue
    return found
