"""`GET /admin/costs`: spend and tokens by deployment, model, key or day."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from spillway.core.errors import BadRequest, ConfigError, ServerError
from spillway.remote.cost import pico_to_usd

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note

KINDS = ("deployment", "model", "key", "day")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


async def costs(gateway: Gateway, _caller: None, exchange: Exchange, _note: Note) -> None:
    """Answer what was spent: `?by=deployment|model|key|day`, `&since=YYYY-MM-DD` (UTC).

    From the state file, what is not written yet included. Without one only what the deployments have spent since the
    start is known, by deployment.
    """
    query = _query(exchange)
    by = query.get("by", "deployment")
    if by not in KINDS:
        raise BadRequest(f"by must be one of {', '.join(KINDS)}", param="by")
    since = _since(query.get("since"))
    state = gateway.cluster.state
    if state is not None:
        try:
            found = await state.costs(by, since)
        except ConfigError as error:
            raise ServerError(str(error), reason="state") from error
        rows = [
            {
                by: row.name,
                "requests": row.requests,
                "input_tokens": row.input_tokens,
                "output_tokens": row.output_tokens,
                "cached_tokens": row.cached_tokens,
                "cost_usd": pico_to_usd(row.cost_pico),
                "estimated_usd": pico_to_usd(row.estimated_pico),
                "margin_usd": pico_to_usd(row.margin_pico),
            }
            for row in found
        ]
        await _answer(exchange, by, rows, "state file")
    elif by == "deployment":
        await _answer(exchange, by, _from_memory(gateway), "since the start")
    else:
        raise BadRequest(f"spend by {by} is kept in the state file, and [cluster] state names none", param="by")


def _from_memory(gateway: Gateway) -> list[dict[str, Any]]:
    return [
        {
            "deployment": name,
            "requests": seen.usage_rows,
            "input_tokens": seen.input_tokens,
            "output_tokens": seen.output_tokens,
            "cached_tokens": seen.cached_tokens,
            "cost_usd": seen.cost_usd or 0.0,
            "estimated_usd": 0.0,
            "margin_usd": 0.0,
        }
        for name, seen in sorted(gateway.cluster.metrics().per_deployment.items())
        if seen.usage_rows
    ]


async def _answer(exchange: Exchange, by: str, rows: list[dict[str, Any]], source: str) -> None:
    total = sum(row["cost_usd"] for row in rows)
    await exchange.answer_json(200, {"by": by, "source": source, "rows": rows, "total_usd": total})


def _query(exchange: Exchange) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True):
        if name not in {"by", "since"}:
            raise BadRequest(f"no parameter {name[:50]!r} (known: by, since)", param=name[:50])
        if name in found:
            raise BadRequest(f"{name} stands there twice", param=name)
        found[name] = value
    return found


def _since(day: str | None) -> int:
    if not day:
        return 0
    try:
        if not _DAY.match(day):
            raise ValueError
        return max(0, int(datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()))
    except ValueError:
        raise BadRequest("since must be a day, YYYY-MM-DD", param="since") from None
