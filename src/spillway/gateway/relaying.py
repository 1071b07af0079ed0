"""An answer on its way to the caller, whatever door it leaves by: the doors differ in the words alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from spillway.core.errors import InferenceError
from spillway.core.reply import Tokens
from spillway.gateway.exchange import COMMENT
from spillway.gateway.refusals import Refusal, refusal_of

if TYPE_CHECKING:
    from spillway.core.reply import TokenChunk
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Visit
    from spillway.remote.engine import LiveStream


class Events(Protocol):
    """The events of one streamed answer, in the words of a door."""

    def take(self, chunks: Sequence[TokenChunk]) -> bytes:
        """Return what goes out for one read; empty for nothing."""
        ...

    def end(self) -> bytes:
        """Return what ends an answer that is whole."""
        ...

    def fail(self, refusal: Refusal) -> bytes:
        """Return what ends an answer that broke."""
        ...


async def answer_whole(visit: Visit, exchange: Exchange, wire: str, write: Callable[[Tokens], Any]) -> None:
    """Answer in one piece: the provider's bytes where it speaks `wire`, else what `write` makes of them, as JSON."""
    answer = await visit.whole()
    if not isinstance(answer, Tokens):
        raise TypeError("an answer was asked for, and vectors came")
    if answer.wire == wire:
        await exchange.answer(200, answer.raw, visit.headers(answer))
    else:
        await exchange.answer_json(200, write(answer), visit.headers(answer))


async def answer_streamed(
    visit: Visit, exchange: Exchange, make: Callable[[LiveStream], Events], keep_alive: bytes = COMMENT
) -> None:
    """Relay a stream from its commit point on; one that breaks then ends in the door's words for that.

    Args:
        make: of the stream at its commit point.
        keep_alive: what is sent in long silence.
    """
    async with visit.stream() as live:
        await exchange.begin_events(
            {"x-spillway-deployment": live.deployment, "x-spillway-attempts": str(live.attempts)}, keep_alive
        )
        events = make(live)
        try:
            while (chunks := await visit.next_of(live)) is not None:
                data = events.take(chunks)
                if data:
                    if visit.note.first_content_at is None:
                        visit.note.first_content()
                    await exchange.write(data)
        except InferenceError as error:
            refusal = refusal_of(error)
            visit.note.refused(refusal)
            await exchange.end(events.fail(refusal))
            return
        await exchange.end(events.end())
