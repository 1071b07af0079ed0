"""One request of a caller, run once, and what can be told of it from outside the engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.remote.worker import answer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from spillway.remote.engine import Call, LiveStream
    from spillway.remote.engine.whole import Answer
    from spillway.runtime.routing import RouteTarget


class Errand:
    """A request on its way through the engines.

    Made by `Cluster.errand`; `run` is awaited once.
    """

    __slots__ = ("_call", "_route")

    def __init__(self, call: Call, route: Sequence[RouteTarget]) -> None:
        self._call = call
        self._route = route

    def run(self) -> Coroutine[Any, Any, Answer | LiveStream]:
        """Return the whole answer, or the stream at its commit point where one was asked for.

        Before that point retry and fallback are invisible; what is raised here was answered by nobody.

        Raises:
            InferenceError: as in `Cluster.generate`.

        Cancellation: cancels the request at the provider too.
        """
        return answer(self._call, self._route)

    @property
    def attempts(self) -> int:
        """How many attempts were sent."""
        return self._call.attempts

    @property
    def queued_s(self) -> float:
        """Seconds spent waiting for a slot and a permit."""
        return self._call.queued_s

    @property
    def upstream_s(self) -> float:
        """Seconds spent waiting for providers; what the reader of a stream took to ask for more is none of it."""
        return self._call.upstream_s

    @property
    def fell_back(self) -> bool:
        """Whether another deployment was asked than the ones that it was for."""
        asked = self._route[0].members
        call = self._call
        engine = getattr(call, "engine", None)
        if not call.tried and engine in asked:
            return False
        # Those that were tried have failed; who answered stands beside them.
        return any(each not in asked for each in (*call.tried, engine) if each)

    @property
    def plain(self) -> tuple[float, float] | None:
        """Seconds of its only attempt, and up to the first content, where observers may not have been told of that."""
        return self._call.plain

    @property
    def retries(self) -> int:
        """Attempts that repeated a failed one."""
        return self._call.retries

    @property
    def input_bound(self) -> int:
        """An upper bound of its input tokens."""
        return self._call.input_bound

    def __repr__(self) -> str:
        return f"<Errand {self._call.request.idempotency_id} attempts {self.attempts}>"
