"""The whole way from the text of a LiteLLM configuration to the text of a project file."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spillway.cli.litellm_config.draft import Draft, Project
from spillway.cli.litellm_config.findings import Findings, Table
from spillway.cli.litellm_config.models import ModelList, name_all
from spillway.cli.litellm_config.settings import Settings
from spillway.cli.litellm_config.variables import Variables
from spillway.cli.litellm_config.yaml_file import read_yaml
from spillway.core.errors import ConfigError

_TOP = {
    "include": "further files are not read; import each, and put them together",
    "guardrails": "there are no guardrails",
    "mcp_servers": "there is no MCP gateway",
    "vector_store_registry": "there are no vector stores",
    "callback_settings": "what is seen of requests goes to /metrics, OpenTelemetry and logs here",
}


class Converted(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a configuration.

    Attributes:
        text: of the project file.
        deployments: how many it has.
        inline: whether secrets stand in it.
        findings: what was not carried over, or differs, one line each.
    """

    text: str
    deployments: int
    inline: bool
    findings: tuple[str, ...]


class NothingLeftError(ConfigError):
    """No entry of a configuration can be carried over.

    Attributes:
        findings: why, one line each.
    """

    def __init__(self, message: str, findings: tuple[str, ...]) -> None:
        super().__init__(message)
        self.findings = findings


def convert(text: str, name: str, environ: Mapping[str, str]) -> Converted:
    """Return a LiteLLM proxy's configuration as a project file.

    Args:
        text: of the configuration, in YAML.
        name: the file's, for the lines about what was not carried over.
        environ: where values that are no secrets are read, such as an `api_base` of `os.environ/NAME`.

    Raises:
        ConfigError: it is no such configuration.
        NothingLeftError: nothing in it can be carried over.
    """
    document, lines = read_yaml(text, name)
    findings = Findings(name, lines)
    if not isinstance(document, dict):
        raise ConfigError(f"{name}:1: a LiteLLM configuration is a mapping with a model_list")
    top = Table(document, (), findings)
    if "model_list" not in top:
        raise ConfigError(f"{name}:1: there is no model_list, so nothing can be carried over")
    variables = Variables(top.table("environment_variables"), environ)
    project, lost = Project(), []
    reader = ModelList(variables, _credentials(top))
    for entry in top.tables("model_list"):
        asked = entry.peek("model_name")
        draft = reader.draft(entry)
        if draft is not None:
            project.deployments.append(draft)
        elif isinstance(asked, str):
            lost.append(asked)
    if not project.deployments:
        raise NothingLeftError(f"{name}: no entry of model_list can be carried over", tuple(findings))
    name_all(project.deployments)
    settings = Settings(project, _by_asked(project.deployments), lost)
    settings.router(top.table("router_settings"))
    settings.litellm(top.table("litellm_settings"))
    settings.general(top.table("general_settings"), variables)
    variables.leftovers()
    top.rest(_TOP)
    _drop_unpriced_budgets(project, findings)
    return Converted(
        text=project.text(name),
        deployments=len(project.deployments),
        inline=any("inline" in key["key"] for key in project.keys)
        or any("inline" in draft.tables["runtime_config"].get("api_key", {}) for draft in project.deployments),
        findings=tuple(findings),
    )


def _credentials(top: Table) -> dict[str, Table]:
    found = {}
    for each in top.tables("credential_list"):
        name = each.text("credential_name")
        if name is not None:
            found[name] = each.table("credential_values")
    return found


def _by_asked(drafts: list[Draft]) -> dict[str, list[Draft]]:
    found: dict[str, list[Draft]] = {}
    for draft in drafts:
        found.setdefault(draft.asked, []).append(draft)
    return found


def _drop_unpriced_budgets(project: Project, findings: Findings) -> None:
    """Take away caps that nothing could be counted against: a Cluster would refuse to start with them."""
    for draft in project.deployments:
        if "budget" not in draft.tables:
            continue
        from spillway.core.options import Deployment, Pricing
        from spillway.runtime.prices import facts_of

        pricing = Pricing(**draft.tables["pricing"]) if "pricing" in draft.tables else None
        model = str(draft.plain["model"])
        kind = {"azure": "azure"}.get(draft.tables["runtime_config"].get("variant", ""), draft.plain["runtime"])
        if facts_of(Deployment(name=model, runtime=draft.plain["runtime"], pricing=pricing), kind).prices is None:
            del draft.tables["budget"]
            findings.add(
                draft.path, f"the price of {model!r} is unknown, so its budget is left out; give [deployment.pricing]"
            )
