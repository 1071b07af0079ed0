"""What has happened at each deployment lately: who was answered, who failed, who was denied, and when."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable

_GRAIN_S = 0.002
_HORIZON_S = 900.0
_MOST = 100_000


class _Instants:
    """Instants in the order they came.

    Complexity: the newest 100,000; O(log n) to count.
    """

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = array("d")

    def add(self, at: float) -> None:
        """Take in an instant; of several processes they come a little out of order."""
        if self._at and at < self._at[-1]:
            insort(self._at, at)
        else:
            self._at.append(at)
        if len(self._at) > 2 * _MOST:
            del self._at[:_MOST]

    def between(self, after: float, until: float) -> int:
        """Return how many are in `(after, until]`."""
        return max(0, bisect_right(self._at, until) - bisect_right(self._at, after))


class _Answers:
    """Answered attempts by when they were begun, each with when the last of its grain was answered.

    Complexity: 2 ms apart and 15 minutes back at most; O(log n) to ask about begins alone.
    """

    __slots__ = ("begun", "ended")

    def __init__(self) -> None:
        self.begun = array("d")
        self.ended = array("d")

    def add(self, begun: float, ended: float) -> None:
        log = self.begun
        at = bisect_left(log, begun)
        if at == len(log):
            # The newest is always kept: who asks whether anybody was answered since an instant asks for it.
            if at > 1 and begun - log[-2] < _GRAIN_S:
                log[-1] = begun
                self.ended[-1] = ended
            else:
                log.append(begun)
                self.ended.append(ended)
        elif at == 0 or begun - log[at - 1] >= _GRAIN_S or log[at] - begun >= _GRAIN_S:
            log.insert(at, begun)
            self.ended.insert(at, ended)
        else:
            self.ended[at] = max(self.ended[at], ended)
        if begun - log[0] > 2 * _HORIZON_S:
            old = bisect_left(log, begun - _HORIZON_S)
            del log[:old]
            del self.ended[:old]


class Chronicle:
    """Remembers what happened at each deployment; instants of one clock, in seconds."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answers] = {}
        self._answered: dict[str, _Instants] = {}
        self._failed: dict[str, _Instants] = {}
        self._denied: dict[str, _Instants] = {}

    def answered(self, deployment: str, begun: float, ended: float) -> None:
        """Take in an attempt that was answered."""
        self._answers.setdefault(deployment, _Answers()).add(begun, ended)
        self._answered.setdefault(deployment, _Instants()).add(ended)

    def failed(self, deployment: str, at: float) -> None:
        """Take in an attempt that failed in a way that counts."""
        self._failed.setdefault(deployment, _Instants()).add(at)

    def denied(self, deployment: str, at: float) -> None:
        """Take in a denial: of the credential, by the billing, of the model."""
        self._denied.setdefault(deployment, _Instants()).add(at)

    def begun_between(self, deployments: Iterable[str], after: float, until: float) -> bool:
        """Return whether an attempt that was begun in `(after, until]` was answered."""
        for deployment in deployments:
            log = self._answers.get(deployment)
            if log is not None and bisect_right(log.begun, after) < bisect_right(log.begun, until):
                return True
        return False

    def outlived(self, deployments: Iterable[str], begun: float, failed: float, until: float) -> bool:
        """Return whether an attempt that was begun in `[begun, until]` was answered after `failed`."""
        for deployment in deployments:
            log = self._answers.get(deployment)
            if log is not None:
                span = log.ended[bisect_left(log.begun, begun) : bisect_right(log.begun, until)]
                if any(ended > failed for ended in span):
                    return True
        return False

    def answers(self, deployments: Iterable[str], after: float, until: float) -> int:
        """Return how many attempts were answered in `(after, until]`."""
        return _count(self._answered, deployments, after, until)

    def failures(self, deployments: Iterable[str], after: float, until: float) -> int:
        """Return how many attempts failed in `(after, until]`."""
        return _count(self._failed, deployments, after, until)

    def denials(self, deployments: Iterable[str], after: float, until: float) -> int:
        """Return how many requests were denied in `(after, until]`."""
        return _count(self._denied, deployments, after, until)


def _count(logs: dict[str, _Instants], deployments: Iterable[str], after: float, until: float) -> int:
    return sum(logs[name].between(after, until) for name in deployments if name in logs)
