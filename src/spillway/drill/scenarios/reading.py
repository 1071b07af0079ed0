"""What several scenarios read from arrivals and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from spillway.drill.found import Curve, Promise
from spillway.drill.load import Answer, Load
from spillway.drill.measuring import books, levels
from spillway.drill.sizes import Size

_POINTS = 240


def merged(arrivals: Mapping[int, Sequence[float]]) -> list[float]:
    """Return the arrivals of all nodes in their order."""
    return sorted(time_s for times in arrivals.values() for time_s in times)


def window_curve(times: Sequence[float], size: Size, span_s: float, *, bound: int) -> Curve:
    """Return how full the sliding window was."""
    return Curve(
        title=f"Requests in the sliding window of {size.window_s:g} s, at the provider",
        unit="requests",
        points=levels(times, size.window_s, span_s, _POINTS),
        bound=(bound, "bound" if bound > size.limit else "limit"),
        lesser=(size.limit, "limit") if bound > size.limit else None,
    )


def answered_once(load: Load, *, also: Iterable[str] = ()) -> Promise:
    """Return the promise that each request had one answer and none was lost.

    Args:
        also: codes of refusals that are answers too.
    """
    fine = {"", *also}
    found = books(load.asked, (answer.name for answer in load.answers if answer.status and answer.code in fine))
    trouble = Counter(code_of(answer) for answer in load.answers if answer.code not in fine or not answer.status)
    says = ", ".join(f"{count} {code}" for code, count in trouble.most_common(3))
    measured = f"{found.once} of {len(load.asked)}" + (f" ({says})" if says else "")
    return Promise(
        name="requests that got one answer",
        promised="all, and each once",
        measured=measured,
        holds=found.balanced and found.once > 0,
    )


def code_of(answer: Answer) -> str:
    """Return what a client was told, in a word."""
    return answer.code or (str(answer.status) if answer.status else "no answer")


def timed(load: Load) -> dict[str, str]:
    """Return remarks on how long answers took, and how many clients had to turn to another gateway."""
    took = sorted(answer.took_s for answer in load.answers)
    if not took:
        return {}
    found = {"longest wait for an answer": f"{took[-1]:.2f} s", "median wait": f"{took[len(took) // 2]:.2f} s"}
    again = sum(answer.tries > 1 for answer in load.answers)
    if again:
        found["asked elsewhere, as their gateway was gone"] = f"{again}"
    return found
