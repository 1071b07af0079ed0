"""`router_settings`, `litellm_settings` and `general_settings`: what holds for all deployments, and for the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from spillway.cli.litellm_config.models import put_budget
from spillway.cli.litellm_config.reasons import GENERAL, LITELLM, ROUTER

if TYPE_CHECKING:
    from spillway.cli.litellm_config.draft import Draft, Project
    from spillway.cli.litellm_config.findings import Table
    from spillway.cli.litellm_config.variables import Variables

PORT = 4000
"""Where a LiteLLM proxy listens."""

_WINDOW_S = 60.0
_AS_HERE = {None, "simple-shuffle", "least-busy"}


class Settings:
    """Reads what holds for all.

    Args:
        project: what they go into; its deployments have their names.
        asked: the names that LiteLLM's callers ask for, with their members.
        lost: names whose every entry was left out.
    """

    def __init__(self, project: Project, asked: Mapping[str, list[Draft]], lost: Iterable[str]) -> None:
        self._project = project
        self._asked = asked
        self._lost = set(lost)

    def router(self, table: Table) -> None:
        """Read `router_settings`."""
        strategy = table.text("routing_strategy")
        if strategy not in _AS_HERE:
            table.add("routing_strategy", "members of a group are asked by weight, then least busy")
        self._attempts(table)
        self._default("retry", initial_backoff_s=table.number("retry_after"))
        self._default("timeouts", first_byte_timeout_s=table.number("stream_timeout", above=True))
        self._budgets(table.table("provider_budget_config"))
        self._fallbacks(table)
        table.rest(ROUTER)

    def litellm(self, table: Table) -> None:
        """Read `litellm_settings`; what `router_settings` said before goes first."""
        self._default("timeouts", unary_timeout_s=table.number("request_timeout", above=True))
        self._attempts(table)
        if table.flag("drop_params"):
            for draft in self._project.deployments:
                draft.plain.setdefault("unsupported", "warn")
        self._fallbacks(table)
        table.rest(LITELLM)

    def general(self, table: Table, variables: Variables) -> None:
        """Read `general_settings`."""
        key = variables.secret(table, "master_key")
        if key is None:
            self._project.gateway["bind"] = f"127.0.0.1:{PORT}"
        else:
            self._project.gateway["bind"] = f"0.0.0.0:{PORT}"
            self._project.gateway["admin_key"] = key
            # LiteLLM takes it for the key of a caller too.
            self._project.keys.append({"name": "master", "key": key, "max_priority": "critical"})
        table.rest(GENERAL)

    def _attempts(self, table: Table) -> None:
        self._default("retry", max_retries=table.count("num_retries", least=0))
        self._default("timeouts", unary_timeout_s=table.number("timeout", above=True))
        fails = table.count("allowed_fails", least=0)
        if fails is not None:
            self._default("circuit_breaker", failure_threshold=fails + 1, window_s=_WINDOW_S)
        cooldown = table.number("cooldown_time", above=True)
        if cooldown is not None:
            self._default("circuit_breaker", open_duration_s=cooldown, max_open_duration_s=max(cooldown, 300.0))

    def _default(self, name: str, **values: Any) -> None:
        given = {key: value for key, value in values.items() if value is not None}
        if given:
            defaults = self._project.defaults.setdefault(name, {})
            self._project.defaults[name] = {**given, **defaults}

    def _budgets(self, table: Table) -> None:
        for provider in table.names():
            one = table.table(provider)
            members = [draft for draft in self._project.deployments if draft.provider == provider]
            if len(members) == 1 and "budget" not in members[0].tables:
                put_budget(members[0], one, "budget_limit", "time_period")
                one.rest()
            else:
                why = "no deployment of it is left" if not members else f"{len(members)} deployments would share it"
                table.add(provider, f"a budget is one deployment's own, and {why}; it is left out")

    def _fallbacks(self, table: Table) -> None:
        for key, code in (
            ("fallbacks", None),
            ("context_window_fallbacks", "context_length_exceeded"),
            ("content_policy_fallbacks", "content_filtered"),
        ):
            for index, pair in enumerate(_pairs(table.take(key))):
                if pair is None:
                    table.findings.add((*table.path, key, index), "it must be a name and the names to ask then")
                    continue
                self._fall_back(table, (*table.path, key, index), *pair, code)
        everywhere = table.take("default_fallbacks")
        if isinstance(everywhere, list) and all(isinstance(name, str) for name in everywhere):
            for name, members in self._asked.items():
                if name not in everywhere and not any(draft.plain.get("fallback") for draft in members):
                    self._fall_back(table, (*table.path, "default_fallbacks"), name, everywhere, None)
        elif everywhere is not None:
            table.add("default_fallbacks", "it must be a list of names; it is left out")

    def _fall_back(
        self, table: Table, path: tuple[str | int, ...], name: str, targets: list[Any], code: str | None
    ) -> None:
        members = self._asked.get(name)
        if members is None:
            why = "every entry of it is left out" if name in self._lost else "no model_name is that"
            table.findings.add(path, f"of {name!r}: {why}; it is left out")
            return
        names = [target for target in targets if isinstance(target, str) and target in self._asked and target != name]
        for target in targets:
            if target not in names:
                table.findings.add(path, f"to {target!r}: nothing of that name is left; it is left out")
        for draft in members if names else ():
            known = draft.plain.setdefault("fallback", [])
            known += [target for target in names if target not in known]
            if code is not None:
                draft.plain["fallback_on"] = sorted({*draft.plain.get("fallback_on", ()), code})
        if names and code is not None:
            table.findings.add(path, "a deployment has one list of fallbacks; these are asked after other errors too")


def _pairs(value: Any) -> list[tuple[str, list[Any]] | None]:
    """Return each name with the names to ask then; None for what is none."""
    if value is None:
        return []
    pairs: list[tuple[str, list[Any]] | None] = []
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, Mapping) or not all(isinstance(targets, list) for targets in each.values()):
            pairs.append(None)
        else:
            pairs += [(str(name), list(targets)) for name, targets in each.items()]
    return pairs
