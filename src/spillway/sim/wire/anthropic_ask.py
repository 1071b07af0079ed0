"""How Anthropic's message requests are read, and what of them is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spillway.sim.ask import Ask, BadAsk, Tool, fingerprint, json_tokens, stop_list, whole_number
from spillway.sim.wire.anthropic_cache import Cached, Piece, cached
from spillway.sim.wire.anthropic_content import NEWEST, Heard, hear
from spillway.sim.wire.anthropic_turns import check_turns

REFUSES_AFTER = 5
PAUSES_AFTER = 4
"""Tokens of output after which an answer is refused, or paused, when the last user text asks for it."""

NOT_COUNTED = frozenset(
    {"container", "inference_geo", "max_tokens", "metadata", "service_tier", "stop_sequences", "stream"}
    | {"temperature", "top_k", "top_p"}
)
"""Fields that the token counting endpoint refuses."""

_NOT_DECIDING = frozenset({"stream", "max_tokens", "metadata"})
_ROLES = frozenset({"user", "assistant", "system"})
_VERSIONS = frozenset({"", "2023-06-01", NEWEST})
_BETAS = frozenset({
    "interleaved-thinking-2025-05-14",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "model-context-window-exceeded-2025-08-26",
    "structured-outputs-2025-11-13",
    "extended-cache-ttl-2025-04-11",
    "prompt-caching-2024-07-31",
    "files-api-2025-04-14",
    "mcp-client-2025-11-20",
    "fast-mode-2026-02-01",
    "output-300k-2026-03-24",
    "server-side-fallback-2026-07-01",
    "compact-2026-09-04",
    "task-budgets-2026-03-13",
})  # fmt: skip
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_THINKING = frozenset({"adaptive", "enabled", "between_tools", "disabled"})
_LEAST_BUDGET = 1024


class AnthropicAsk(Ask, frozen=True, kw_only=True):
    """A question with what only this API knows.

    Attributes:
        cached: what of the input a cache held or was given.
        omitted: thinking is signed, but not shown.
        secret: half of the thinking is redacted.
        citable: documents and search results that the answer cites.
        searches: the answer searches first.
        resumes: it goes on from a search that was begun in the turn before.
        stops_as: `refusal` or `pause_turn` for an answer that is cut short.
        speed: as asked for; `inference_geo` and `container` too, None when they were not.
    """

    cached: Cached = Cached()
    omitted: bool = False
    secret: bool = False
    citable: tuple[Mapping[str, Any], ...] = ()
    searches: bool = False
    resumes: bool = False
    stops_as: str = ""
    speed: str = "standard"
    inference_geo: str | None = None
    container: Mapping[str, Any] | None = None


def read(body: Mapping[str, Any], dialect: str, *, variant: str, counts: bool = False) -> AnthropicAsk:
    """Read a message request under an API version and beta features, "" for none given; raises `BadAsk`."""
    version, _, betas = variant.partition(" ")
    _check_headers(version, betas)
    if version >= NEWEST:
        for name in ("temperature", "top_p", "top_k"):
            if name in body:
                raise BadAsk(f"{name}: Extra inputs are not permitted")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise BadAsk("model: Field required")
    limit = 1 if counts else whole_number(body, "max_tokens", least=0)
    if limit is None:
        raise BadAsk("max_tokens: Field required")
    tools, choice = _tools(body.get("tools")), body.get("tool_choice")
    choice = choice if isinstance(choice, dict) else {}
    thinking = _thinking(body.get("thinking"), choice, None if counts else limit)
    heard, resumes = _conversation(body, version, thinking=thinking not in {"", "disabled", "between_tools"})
    forced = str(choice.get("name")) if choice.get("type") == "tool" else None
    if choice.get("type") == "any" and tools:
        forced = tools[0].name
    searches = _searches(body.get("tools"), heard, forced)
    stops_as = _stops_as(heard.text, searches=searches and not resumes)
    if stops_as:
        limit = min(limit, REFUSES_AFTER if stops_as == "refusal" else PAUSES_AFTER)
    stops = stop_list(body.get("stop_sequences"))
    if any(not stop.strip() for stop in stops):
        raise BadAsk("stop_sequences: each stop sequence must contain non-whitespace")
    display = (body.get("thinking") or {}).get("display")
    return AnthropicAsk(
        model=model,
        fingerprint=fingerprint(
            dialect, model, {key: value for key, value in body.items() if key not in _NOT_DECIDING}
        ),
        input_tokens=sum(piece.tokens for piece in heard.pieces),
        last_user=heard.text,
        after_tool=heard.tool_result,
        stream=body.get("stream") is True,
        max_output=limit,
        stop=stops,
        tools=tools if choice.get("type") != "none" else (),
        forced_tool=forced,
        parallel=choice.get("disable_parallel_tool_use") is not True,
        json_schema=_json_schema(body.get("output_config")),
        thinking=thinking in {"adaptive", "enabled"} or (thinking == "between_tools" and heard.tool_result),
        cached=cached(heard.pieces),
        omitted=display == "omitted",
        secret="in secret" in heard.text,
        citable=tuple(heard.citable),
        searches=searches,
        resumes=resumes,
        stops_as=stops_as,
        speed=str(body.get("speed") or "standard"),
        inference_geo=body.get("inference_geo"),
        container=_container(body.get("container")),
    )


def _check_headers(version: str, betas: str) -> None:
    if version not in _VERSIONS:
        raise BadAsk(f"anthropic-version: {version} is not a valid version")
    unknown = [name for beta in betas.split(",") if (name := beta.strip()) and name not in _BETAS]
    if unknown:
        raise BadAsk(f"Unexpected value(s) `{'`, `'.join(unknown)}` for the `anthropic-beta` header.")


def _conversation(body: Mapping[str, Any], version: str, *, thinking: bool) -> tuple[Heard, bool]:
    """Return what is said, its last user text in `text`, and whether the last turn is a search that was begun."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadAsk("messages: at least one message is required")
    heard = Heard()
    if body.get("tools"):
        marks = [tool["cache_control"] for tool in body["tools"] if isinstance(tool, dict) and "cache_control" in tool]
        heard.pieces += [Piece(0, mark) for mark in marks[:-1]]
        heard.pieces.append(Piece(json_tokens(body["tools"]), marks[-1] if marks else None))
    hear(body.get("system") or "", "system", "system", version, heard)
    last_user, answered = "", 0
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise BadAsk(f"messages.{at}.role: Input should be 'user' or 'assistant'")
        if message["role"] == "assistant":
            answered = len(heard.pieces)
        hear(message.get("content"), message["role"], f"messages.{at}.content", version, heard)
        if message["role"] == "user" and heard.text:
            last_user = heard.text
    for piece in heard.pieces[:answered]:
        piece.answered = True
    if body.get("cache_control") is not None and heard.pieces[-1].mark is None:
        heard.pieces[-1].mark = body["cache_control"]
    check_turns(messages, thinking=thinking)
    heard.text = last_user
    last = messages[-1]
    begun = last["content"][-1]["type"] if last["role"] == "assistant" and isinstance(last["content"], list) else ""
    return heard, begun == "server_tool_use"


def _thinking(thinking: object, choice: Mapping[str, Any], limit: int | None) -> str:
    if thinking is None:
        return ""
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if not isinstance(thinking, dict) or kind not in _THINKING:
        raise BadAsk(f"thinking.type: Input should be one of {', '.join(sorted(_THINKING))}")
    if kind == "enabled" and limit is not None:
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int) or budget < _LEAST_BUDGET:
            raise BadAsk(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_LEAST_BUDGET}")
        if budget >= limit:
            raise BadAsk("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if kind in {"enabled", "adaptive"} and choice.get("type") in {"any", "tool"}:
        raise BadAsk("Thinking may not be enabled when tool_choice forces tool use.")
    return str(kind)


def _searches(tools: object, heard: Heard, forced: str | None) -> bool:
    kinds = [str(tool.get("type", "")) for tool in (tools if isinstance(tools, list) else ()) if isinstance(tool, dict)]
    offered = any(kind.startswith("web_search_") for kind in kinds)
    return offered and forced is None and "search" in heard.text and not heard.tool_result


def _stops_as(text: str, *, searches: bool) -> str:
    if "refuse midway" in text:
        return "refusal"
    return "pause_turn" if searches and "and pause" in text else ""


def _container(wanted: object) -> Mapping[str, Any] | None:
    if not wanted:
        return None
    name = wanted.get("id") if isinstance(wanted, dict) else wanted
    return {"id": name or "container_simulated", "expires_at": "2027-01-01T00:00:00Z"}


def _tools(tools: object) -> tuple[Tool, ...]:
    return tuple(
        Tool(tool["name"], tool["input_schema"])
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and isinstance(tool.get("name"), str) and isinstance(tool.get("input_schema"), dict)
    )


def _json_schema(config: object) -> Mapping[str, Any] | None:
    if not isinstance(config, dict):
        return None
    if config.get("effort") is not None and config["effort"] not in _EFFORTS:
        raise BadAsk(f"output_config.effort: Input should be one of {', '.join(sorted(_EFFORTS))}")
    wanted = config.get("format")
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    return schema if isinstance(schema, dict) else None
