"""One request on its way through the simulator: what was asked, what it will be told, and what it has cost so far."""

from __future__ import annotations

from aiohttp import web

from spillway.sim.answers import Answer
from spillway.sim.ask import Ask
from spillway.sim.limits import Verdict
from spillway.sim.prices import PriceList
from spillway.sim.stats import Visit
from spillway.sim.wire.dialect import Dialect


class Turn:
    """The state of one admitted request.

    `spent_output` is what the provider would bill if the client left now: everything for a unary answer, which is
    computed whether it is read or not, and the pieces sent so far for a stream. None means that no work has begun.
    """

    __slots__ = ("answer", "ask", "dialect", "headers", "prices", "request", "spent_output", "stream", "unary", "visit")

    def __init__(
        self,
        *,
        request: web.BaseRequest,
        dialect: Dialect,
        visit: Visit,
        ask: Ask,
        answer: Answer,
        headers: dict[str, str],
        prices: PriceList,
        stream: bool,
        unary: bytes | None,
    ) -> None:
        self.request = request
        self.dialect = dialect
        self.visit = visit
        self.ask = ask
        self.answer = answer
        self.headers = headers
        self.prices = prices
        self.stream = stream
        self.unary = unary
        self.spent_output: int | None = None

    def begin(self) -> None:
        """Note that the provider has begun to work on the answer."""
        self.spent_output = 0 if self.stream else self.answer.output_tokens

    def end(self, outcome: str, *, status: int = 200) -> None:
        """Count the outcome and bill what was spent."""
        self.visit.end(outcome, status=status, billed_pico=self.cost_pico())

    def cost_pico(self) -> int:
        """Return what the work so far costs."""
        if self.spent_output is None:
            return 0
        return self.prices.cost_pico(self.ask.model, self.answer.input_tokens, self.spent_output)

    def render(self) -> bytes:
        """Return the whole unary answer."""
        if self.unary is None:
            self.unary = self.dialect.unary(self.ask, self.answer)
        return self.unary


def verdict_tokens(answer: Answer) -> int:
    """Return what an answer counts against limits: its input and its output."""
    return answer.input_tokens + answer.output_tokens


def admitted(verdict: Verdict | None) -> bool:
    """Tell whether the limits let a request through."""
    return verdict is None or verdict.allowed
