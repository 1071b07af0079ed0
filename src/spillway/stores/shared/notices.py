"""What one node tells all others, and what each of them answers.

A notice is kept by the store for two minutes and read by number, so that a node that was paused, or cut off for a
moment, reads it late rather than never; what is published to whoever listens just then is lost to it. A standing notice
is read by nodes that begin later too, until another of the same name takes its place, or no node is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import new_id
from spillway.stores.shared.presence import SILENT_S

if TYPE_CHECKING:
    from spillway.stores.shared.port import ScriptCall
    from spillway.stores.shared.sharing import Sharing

EVERY_S = 0.2
"""Seconds between two looks at what there is."""

ALONE_S = 1.0
"""Likewise, for a node that has not heard of any other."""

WAITING_S = 0.05
"""Likewise, for a node that waits for answers."""

SLOW_S = 3.0
"""Whoever has not looked for so long is not waited for any longer than that."""

UNPOSTED_S = 1.0
"""So long a notice is tried to be posted."""

NOTICE_S = 120.0
"""So long a notice that does not stand is kept."""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says in a sync.

    Attributes:
        since: number of the newest notice it has seen; -1: it has just come, and reads those that stand.
        posts: id, name of what stands (empty: it does not) and text of each of its own.
        answers: number of a notice and the text of its answer.
        open: numbers of its own notices to which it wants the answers.
    """

    node: str
    since: int
    posts: list[tuple[str, str, str]]
    answers: list[tuple[int, str]]
    open: list[int]
    leaving: bool
    silent_ms: int
    notice_ms: int
    keep_ms: int


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What the store says.

    Attributes:
        news: number, age in milliseconds and text of each notice that is new, and whether it stands.
        posted: numbers of the posts, in their order.
        got: number, node and text of answers.
        nodes: who is there, and for how many milliseconds it has not looked.
    """

    last: int
    news: list[tuple[int, int, str, bool]]
    posted: list[int]
    got: list[tuple[int, str, str]]
    nodes: list[tuple[str, int]]


class Notice(msgspec.Struct, frozen=True):
    """A notice of another node.

    Attributes:
        age_s: since it was posted.
        stood: it was posted before this node came.
    """

    text: str
    age_s: float
    stood: bool


class Answers(msgspec.Struct, frozen=True):
    """What came of a notice.

    Attributes:
        by_node: the answers.
        missing: nodes that were expected to answer and did not in time.
        posted: whether it has reached the store.
    """

    by_node: Mapping[str, str]
    missing: list[str]
    posted: bool


class _Open:
    """A notice of our own that is waited for."""

    def __init__(self, stands: str, text: str) -> None:
        self.id = new_id()
        self.stands = stands
        self.text = text
        self.number: int | None = None
        self.expected: dict[str, float] = {}
        self.answers: dict[str, str] = {}
        self.news = asyncio.Event()


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Heard).decode

Reply = Callable[[str], None]


class Notices:
    """Posts notices of this node and hands it those of others; a part of its syncing.

    Args:
        on_notice: called with each notice of another node and with what takes its answer, now or later, once.
    """

    def __init__(self, sharing: Sharing, on_notice: Callable[[Notice, Reply], None]) -> None:
        prefix = f"{sharing.settings.prefix}{{notices}}:"
        self._keys = tuple(prefix + name for name in ("notices", "times", "answers", "nodes", "standing"))
        self._sharing = sharing
        self._on_notice = on_notice
        self._clock = sharing.clock
        self._last = float("-inf")
        self._run = ""
        self._since = -1
        self._others = 0
        self._own: set[int] = set()
        self._open: list[_Open] = []
        self._posting: list[_Open] = []
        self._answers: list[tuple[int, str]] = []
        self._answering: list[tuple[int, str]] = []

    async def ask(self, text: str, *, stands: str = "", within_s: float) -> Answers:
        """Post a notice and return once all who are there have answered, or the time is over.

        Args:
            stands: a name: the notice is for those who come later too, and takes the place of the last of that name.
            within_s: how long those who look regularly may take.
        """
        own = _Open(stands, text)
        self._open.append(own)
        began = self._clock()
        self._last = float("-inf")
        self._sharing.syncing.wake()
        try:
            while True:
                now = self._clock()
                waited = [node for node, until in self._due(own, began, within_s).items() if until > now]
                if own.number is not None and not waited:
                    break
                posting_s = min(within_s, UNPOSTED_S)
                left = max((self._due(own, began, within_s)[node] for node in waited), default=began + posting_s) - now
                if left <= 0:
                    break
                own.news.clear()
                try:
                    async with asyncio.timeout(left):
                        await own.news.wait()
                except TimeoutError:
                    continue
        finally:
            self._open.remove(own)
        missing = [node for node in own.expected if node not in own.answers]
        return Answers(own.answers, missing, own.number is not None)

    def _due(self, own: _Open, began: float, within_s: float) -> dict[str, float]:
        """Return until when each node that has not answered is waited for."""
        return {
            node: began + (within_s if silent_s < SLOW_S else min(SLOW_S, within_s))
            for node, silent_s in own.expected.items()
            if node not in own.answers
        }

    def next_sync(self) -> float:
        """Return when it wants to be synced."""
        if self._answers:
            return float("-inf")
        every_s = WAITING_S if self._open else EVERY_S if self._others else ALONE_S
        return self._last + every_s

    def begin(self, run: str, *, leaving: bool) -> ScriptCall:
        """Return the script call of one sync."""
        if run != self._run:
            self._run, self._since = run, -1
        self._last = self._clock()
        self._posting = [own for own in self._open if own.number is None]
        self._answering, self._answers = self._answers, []
        return (
            "notices",
            self._keys,
            _encode(
                Asking(
                    node=self._sharing.node,
                    since=self._since,
                    posts=[(own.id, own.stands, own.text) for own in self._posting],
                    answers=self._answering,
                    open=[own.number for own in self._open if own.number is not None],
                    leaving=leaving,
                    silent_ms=int(SILENT_S * 1000),
                    notice_ms=int(NOTICE_S * 1000),
                    keep_ms=int(2 * NOTICE_S * 1000),
                )
            ),
        )

    def end(self, answer: Any) -> None:
        """Take what the store answered."""
        heard = _decode(answer)
        self._since = heard.last
        self._others = len(heard.nodes) - 1
        self._answering = []
        others = {node: silent / 1000 for node, silent in heard.nodes if node != self._sharing.node}
        for own, number in zip(self._posting, heard.posted, strict=True):
            own.number = number
            own.expected = others
            self._own.add(number)
            own.news.set()
        for own in self._open:
            for number, node, text in heard.got:
                if number == own.number and node not in own.answers:
                    own.answers[node] = text
                    own.news.set()
            for node in [node for node in own.expected if node not in others and node not in own.answers]:
                # It has left, or is dead: nothing of it is left to be told.
                del own.expected[node]
                own.news.set()
            own.expected.update({node: silent_s for node, silent_s in others.items() if node in own.expected})
        for number, age_ms, text, stood in sorted(heard.news):
            if number in self._own:
                self._own.discard(number)
                continue
            self._on_notice(Notice(text, age_ms / 1000, stood), self._reply(number))

    def failed(self) -> None:
        """Say again what may not have been heard."""
        self._answers = [*self._answering, *self._answers]
        self._answering = []

    def _reply(self, number: int) -> Reply:
        def reply(text: str) -> None:
            self._answers.append((number, text))
            self._sharing.syncing.wake()

        return reply

    def __repr__(self) -> str:
        return f"<Notices {self._since} seen, {len(self._open)} open, {self._others} others>"
