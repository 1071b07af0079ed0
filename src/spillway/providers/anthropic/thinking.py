"""How hard the model thinks: OpenAI's `reasoning_effort` as an effort, or as a budget for models that know only that.

Source: https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking and …/effort.
"""

from __future__ import annotations

from typing import Any

from spillway.providers.anthropic.blocks import RUNTIME
from spillway.providers.encoding import Losses, unsupported

LEAST_BUDGET = 1024
"""The smallest `budget_tokens` that the API takes; it must also be below `max_tokens`."""

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_BUDGETS = {"low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_BY_BUDGET = (
    "claude-3-7",
    "claude-haiku-4",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2",
    "claude-sonnet-4-5",
    "claude-opus-4-0",
    "claude-opus-4-1",
    "claude-opus-4-2",
)
"""What the names of the models begin with that take no effort; `-2` begins a date."""


def set_effort(body: dict[str, Any], effort: str, losses: Losses, *, model: str, room: int | None) -> None:
    """Set how hard to think.

    Args:
        room: the request's own `max_tokens`; None: it names none, so the one in `body` may be raised.

    Raises:
        BadRequest: there is no such effort, or no room for a budget and nothing may be left out.
    """
    if effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    level = _EFFORTS.get(effort)
    if level is None:
        raise unsupported("reasoning_effort", RUNTIME, f"there is no effort {effort!r}")
    if not model.rpartition("/")[2].startswith(_BY_BUDGET):
        body.setdefault("output_config", {})["effort"] = level
        return
    budget = _BUDGETS[level]
    if room is None:
        body["max_tokens"] += budget
    else:
        budget = min(budget, room - 1)
    if budget < LEAST_BUDGET:
        losses.drop("reasoning_effort", f"{model} thinks with {LEAST_BUDGET} tokens at least, and below max_tokens")
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
