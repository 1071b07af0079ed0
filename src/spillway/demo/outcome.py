"""What a client of the demonstration came back with, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Outcome(msgspec.Struct, kw_only=True):
    """One client's results.

    Attributes:
        answers: every text that was handed over as the whole answer, by prompt number; more than one is a double.
        failed: prompts it gave up.
        seconds: how long it took.
        calls: requests that reached a provider.
        over_limit: of these, the ones above a provider's limit.
        billed_usd: what the providers charge.
    """

    answers: dict[int, list[str]] = msgspec.field(default_factory=dict)
    failed: dict[int, str] = msgspec.field(default_factory=dict)
    seconds: float = 0.0
    calls: int = 0
    over_limit: int = 0
    billed_usd: float = 0.0

    def hand_over(self, number: int, text: str) -> None:
        """Take an answer as final."""
        self.answers.setdefault(number, []).append(text)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome beside the answers that are right.

    Attributes:
        once: prompts with exactly one answer, the whole one.
        cut: prompts whose cut answer was taken as done.
        missing: prompts without any answer.
        twice: prompts with more than one answer.
    """

    once: int
    cut: int
    missing: int
    twice: int


def judge(outcome: Outcome, truth: Mapping[int, frozenset[str]]) -> Verdict:
    """Compare each answer with those that a provider which does nothing wrong may give."""
    once = cut = twice = 0
    for number, texts in outcome.answers.items():
        if len(texts) > 1:
            twice += 1
        elif texts[0] in truth[number]:
            once += 1
        else:
            cut += 1
    return Verdict(once=once, cut=cut, missing=len(truth) - len(outcome.answers), twice=twice)
