"""`model_list`: each entry one deployment, entries of one name a group."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spillway.cli.litellm_config.destinations import (
    BASE_VARIABLES,
    ROOT_ONLY,
    Destination,
    destination_of,
)
from spillway.cli.litellm_config.draft import Draft
from spillway.cli.litellm_config.reasons import INFORMATION, PARAMS

if TYPE_CHECKING:
    from spillway.cli.litellm_config.findings import Table
    from spillway.cli.litellm_config.variables import Variables

_SERVED = {None: "chat", "chat": "chat", "embedding": "chat", "responses": "responses"}
_PRICES = {
    "input_cost_per_token": "input_per_mtok_usd",
    "output_cost_per_token": "output_per_mtok_usd",
    "cache_read_input_token_cost": "cached_input_per_mtok_usd",
    "cache_creation_input_token_cost": "cache_write_per_mtok_usd",
    "output_cost_per_reasoning_token": "reasoning_per_mtok_usd",
}
_SPANS = {3_600: "hour", 86_400: "day", 2_592_000: "month"}
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800, "mo": 2_592_000}
_SPAN = re.compile(r"(\d+)(s|mo|m|h|d|w)")


class ModelList:
    """Reads the entries.

    Args:
        variables: of the environment.
        credentials: LiteLLM's named ones.
    """

    def __init__(self, variables: Variables, credentials: Mapping[str, Table]) -> None:
        self._variables = variables
        self._credentials = credentials

    def draft(self, entry: Table) -> Draft | None:
        """Return the deployment of an entry, None when there can be none; the entry says why."""
        asked = entry.text("model_name")
        params = entry.table("litellm_params")
        info = entry.table("model_info")
        model = params.text("model")
        if asked is None or model is None:
            entry.findings.add(entry.path, "it has no model_name or no litellm_params.model; it is left out")
            return None
        if "*" in asked or "*" in model:
            params.add(
                "model", f"{asked!r} is a wildcard; here every model is a deployment of its own, so it is left out"
            )
            return None
        mode = info.text("mode")
        if mode not in _SERVED:
            info.add("mode", f"nothing here serves {mode!r}; the deployment is left out")
            return None
        place = destination_of(model, params.text("custom_llm_provider"))
        if isinstance(place, str):
            params.add("model", f"{place}; the deployment is left out")
            return None
        self._lend(params)
        draft = Draft(asked=asked, provider=place.provider, path=entry.path, id=info.text("id"), plain={}, tables={})
        if not self._connect(draft, place, params, info, _SERVED[mode]):
            return None
        self._limit(draft, entry, params, info)
        for table, why, otherwise in ((params, PARAMS, None), (info, {}, INFORMATION), (entry, {}, None)):
            table.rest(why, **({} if otherwise is None else {"otherwise": otherwise}))
        return draft

    def _lend(self, params: Table) -> None:
        """Give an entry what its named credential has."""
        name = params.text("litellm_credential_name")
        if name is None:
            return
        if name not in self._credentials:
            params.add("litellm_credential_name", f"there is no credential {name!r} in credential_list")
            return
        params.lend(self._credentials[name])

    def _connect(self, draft: Draft, place: Destination, params: Table, info: Table, api: str) -> bool:
        """Put in where and as whom the provider is asked; return whether that is known."""
        kind = place.kind
        had_base = "api_base" in params or "base_url" in params
        base = self._variables.text(params, "api_base") or self._variables.text(params, "base_url")
        if base is None and not had_base and kind in BASE_VARIABLES:
            base = self._variables.value(BASE_VARIABLES[kind])
        if base is not None and not base.startswith(("http://", "https://")):
            params.add("api_base", "it is no http or https URL; the deployment is left out")
            return False
        if base is None and (had_base or place.needs_base or kind in BASE_VARIABLES):
            params.add("model", "where its provider is can't be told without an api_base; the deployment is left out")
            return False
        draft.plain["runtime"] = {"azure": "openai", "vertex": "gemini"}.get(kind, kind)
        draft.plain["model"] = place.model
        draft.put("runtime_config", endpoint=_endpoint(place, base) if base is not None else place.endpoint)
        if kind == "vertex":
            return self._vertex(draft, params)
        self._key(draft, place, params)
        if kind == "azure":
            base_model = info.text("base_model")
            draft.put("runtime_config", variant="azure", deployment=place.model)
            draft.put("runtime_config", api_version=self._variables.text(params, "api_version"))
            draft.plain["model"] = place.model if base_model is None else base_model.rpartition("/")[2]
        elif kind == "openai":
            draft.put("runtime_config", organization=self._variables.text(params, "organization"))
            draft.put("runtime_config", api="responses" if api == "responses" else None)
        elif kind == "litellm":
            tags = params.take("tags")
            if isinstance(tags, list) and all(isinstance(tag, str) and "," not in tag for tag in tags) and tags:
                draft.put("runtime_config", tags=tags)
        return True

    def _key(self, draft: Draft, place: Destination, params: Table) -> None:
        token = self._variables.secret(params, "azure_ad_token") if place.kind == "azure" else None
        key = self._variables.secret(params, "api_key")
        if key is None and token is not None:
            draft.put("runtime_config", auth="entra")
            key = token
        elif key is None and place.key_variable is not None:
            key = {"from_env": place.key_variable}
        elif key is None:
            params.add("model", 'it has no api_key, and one is always sent here: it is "none"')
            key = {"inline": "none"}
        draft.put("runtime_config", api_key=key)

    def _vertex(self, draft: Draft, params: Table) -> bool:
        variables = self._variables
        project = variables.text(params, "vertex_project") or variables.value("VERTEXAI_PROJECT")
        region = variables.text(params, "vertex_location") or variables.value("VERTEXAI_LOCATION")
        if project is None:
            params.add("model", "Vertex AI needs a vertex_project; the deployment is left out")
            return False
        draft.put("runtime_config", variant="vertex", project=project, region=region)
        given = params.text("vertex_credentials")
        if given is None:
            return True
        if given.startswith("os.environ/"):
            draft.put("runtime_config", credentials={"from_env": given.removeprefix("os.environ/")})
        elif given.startswith("{"):
            params.add(
                "vertex_credentials", "the key file stands in the file; put it into one and name it as credentials"
            )
        else:
            draft.put("runtime_config", credentials={"from_file": given})
        return True

    def _limit(self, draft: Draft, entry: Table, params: Table, info: Table) -> None:
        """Put in limits, times, retries, money and weight."""
        for name, option in (("rpm", "requests_per_minute"), ("tpm", "tokens_per_minute")):
            found = [table.count(name) for table in (params, entry, info) if name in table]
            draft.put("rate_limits", **{option: next((each for each in found if each is not None), None)})
        draft.put("rate_limits", concurrent_requests=params.count("max_parallel_requests"))
        draft.put("timeouts", unary_timeout_s=params.number("timeout", above=True))
        draft.put("timeouts", first_byte_timeout_s=params.number("stream_timeout", above=True))
        retries = [params.count(name, least=0) for name in ("num_retries", "max_retries") if name in params]
        draft.put("retry", max_retries=next((each for each in retries if each is not None), None))
        draft.plain["weight"] = params.count("weight")
        if params.flag("drop_params"):
            draft.plain["unsupported"] = "warn"
        for name, option in _PRICES.items():
            price = params.number(name) if name in params else info.number(name)
            draft.put("pricing", **{option: None if price is None else round(price * 1e6, 9)})
        put_budget(draft, params, "max_budget", "budget_duration")


def put_budget(draft: Draft, table: Table, cap_key: str, span_key: str) -> None:
    """Put a cap on spending in, if its span is one that there is here."""
    cap, span = table.number(cap_key), table.text(span_key)
    if cap is None:
        return
    match = _SPAN.fullmatch(span or "")
    name = _SPANS.get(int(match[1]) * _UNITS[match[2]]) if match else None
    if name is None:
        at = "without an end" if span is None else f"for {span!r}"
        table.add(cap_key, f"a cap {at} is none of 1 h, 24 h and 30 d; it is left out")
        return
    draft.put("budget", **{f"max_spend_per_{name}_usd": cap})


def name_all(drafts: list[Draft]) -> None:
    """Give every deployment its name; those of one `model_name` are a group with weights."""
    by_asked: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_asked.setdefault(draft.asked, []).append(draft)
    taken = set(by_asked)
    for asked, members in by_asked.items():
        if len(members) == 1:
            (draft,) = members
            draft.plain = {"name": asked, **_without(draft.plain, "weight")}
            continue
        weights = _weights(members)
        for number, (draft, weight) in enumerate(zip(members, weights, strict=True), 1):
            wanted = draft.id or f"{asked}-{number}"
            while wanted in taken:
                wanted = f"{wanted}-{number}"
            taken.add(wanted)
            plain = _without(draft.plain, "weight")
            draft.plain = {"name": wanted, "group": asked, **({} if weight == 1 else {"weight": weight}), **plain}


def _weights(members: list[Draft]) -> list[int]:
    """Return the share of each: what it says, else as LiteLLM shuffles, in proportion to the limits if all have one."""
    said = [draft.plain.get("weight") for draft in members]
    if any(weight is not None for weight in said):
        return [weight or 1 for weight in said]
    for option in ("requests_per_minute", "tokens_per_minute"):
        limits = [draft.tables.get("rate_limits", {}).get(option) for draft in members]
        if all(limit is not None for limit in limits):
            whole = [int(limit) for limit in limits if limit is not None]
            shared = reduce(math.gcd, whole)
            return [limit // shared for limit in whole]
    return [1] * len(members)


def _endpoint(place: Destination, base: str) -> str:
    """Return an `api_base` as the endpoint of a runtime."""
    kind = place.kind
    parts = urlsplit(base)
    root = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    if kind == "azure":
        return root
    if kind in {"anthropic", "gemini"}:
        for tail in ("/v1/messages", "/v1beta", "/v1"):
            path = path.removesuffix(tail)
        return root + path
    if place.provider in ROOT_ONLY and not path:
        return f"{root}/v1"
    return root + path


def _without(plain: dict[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in plain.items() if name != key and value is not None}
