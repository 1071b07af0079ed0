"""`GET /admin/costs`: spend and tokens by deployment, model, key or day."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from spillway.core.errors import BadRequest
from spillway.gateway.doors.spending import spending, spending_since_start
from spillway.gateway.together.seen import added_up

if TYPE_CHECKING:
    from spillway.gateway.app import Gateway
    from spillway.gateway.exchange import Exchange
    from spillway.gateway.visit import Note

KINDS = ("deployment", "model", "key", "day")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z", re.ASCII)


async def costs(gateway: Gateway, _caller: None, exchange: Exchange, _note: Note) -> None:
    """Answer what was spent: `?by=deployment|model|key|day`, `&since=YYYY-MM-DD` (UTC).

    Of all gateways that answer as one: each state file counts once.
    """
    query = _query(exchange)
    by = query.get("by", "deployment")
    if by not in KINDS:
        raise BadRequest(f"by must be one of {', '.join(KINDS)}", param="by")
    since = _since(query.get("since"))
    found = await spending(gateway, by, since)
    rows = found.rows
    fellows = gateway.console.fellows
    if fellows is not None and found.file:
        from spillway.gateway.together.orders import COSTS, Order  # noqa: PLC0415 - it knows the doors

        ask = {"by": by, "since": since, "file": found.file}
        done = await fellows.order(Order(action=COSTS, ask=ask))
        others = {one.told["file"]: one.told["rows"] for one in done.outcomes if "file" in one.told}
        rows = added_up([row for part in (rows, *others.values()) for row in part], by)
    elif fellows is not None:
        seen = (await fellows.look()).since_start()
        rows = [spending_since_start(name, told) for name, told in sorted(seen.items()) if told["usage_rows"]]
    await _answer(exchange, by, rows, found.source)


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
