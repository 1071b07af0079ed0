"""The page on the project file and the file that `spillway init` writes tell of every option, and of its true default."""

import pathlib
import re
import tomllib
import typing
from types import NoneType, UnionType

import msgspec
import pytest

from spillway.core.options import Deployment
from spillway.core.secrets import Secret, SecretRef
from spillway.providers.registry import RUNTIMES, config_class
from spillway.runtime.config import load
from spillway.runtime.config_deployments import deployment_tables
from spillway.runtime.config_tables import fields_of, table_of
from spillway.runtime.project import ClusterSettings, GatewayKey, GatewaySettings
from spillway.runtime.template import TEMPLATE

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
FULL = re.sub(r"^#(?=[a-z0-9_\[])", "", TEMPLATE, flags=re.MULTILINE)

SECTIONS = {
    "`[cluster]`": ClusterSettings,
    "`[gateway]`": GatewaySettings,
    "`[[gateway.keys]]`": GatewayKey,
    "`[[deployment]]`": Deployment,
    **{f"`[deployment.runtime_config]` of `{runtime}`": config_class(runtime) for runtime in RUNTIMES},
    **{f"`[deployment.{key}]`": kind for key, kind in deployment_tables().items() if key != "runtime_config"},
}


def in_words(kind):
    options = (
        typing.get_args(kind) if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union else [kind]
    )
    options = [option for option in options if option is not NoneType]
    if Secret in options:
        return "secret or list of secrets" if len(options) > 2 else "secret"
    (kind,) = options
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        return ", ".join(f'`"{choice}"`' for choice in typing.get_args(kind))
    if origin is tuple:
        element = typing.get_args(kind)[0]
        return "list of tables" if table_of(element) else f"list of {in_words(element)}"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}[kind]


def default_in_words(field):
    if field.required:
        return "required"
    if field.default is None:
        return "none"
    if isinstance(field.default, tuple):
        return f"`{list(field.default)}`".replace("'", '"')
    return f"`{msgspec.json.encode(field.default).decode()}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_has_each_option_with_its_type_and_default(section):
    body = PAGE.split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = [
        tuple(cell.strip() for cell in row.split(" | ")[:3]) for row in re.findall(r"^\| (`.*) \|", body, re.MULTILINE)
    ]
    kind = SECTIONS[section]
    tables = deployment_tables() if kind is Deployment else ()
    assert found == [
        (f"`{name}`", in_words(field.type), default_in_words(field))
        for name, field in fields_of(kind).items()
        if name not in tables
    ]


def test_the_page_has_no_section_of_another_table():
    assert set(re.findall(r"^## (`\[.*)$", PAGE, re.MULTILINE)) - {"`[defaults.…]`"} == set(SECTIONS)


def test_the_first_example_of_the_page_loads(tmp_path):
    (tmp_path / "spillway.toml").write_text(re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)[1])
    first, second = load(tmp_path / "spillway.toml").deployments
    assert (first.retry.max_retries, second.retry.max_retries) == (5, 5)


def test_the_template_loads_as_it_is(tmp_path):
    (tmp_path / "spillway.toml").write_text(TEMPLATE)
    found = load(tmp_path / "spillway.toml").deployments
    assert [d.runtime for d in found] == ["openai", "anthropic", "gemini"]
    assert [d.runtime_config.api_key for d in found] == [
        SecretRef(from_env=name) for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")
    ]


def test_the_template_loads_with_every_comment_taken_away(tmp_path):
    (tmp_path / "spillway.toml").write_text(FULL.replace("[defaults.retry]\nmax_retries = 3\n", ""))
    assert len(load(tmp_path / "spillway.toml").deployments) == 3


def test_the_template_has_every_option_of_every_table_and_their_defaults():
    document = tomllib.loads(FULL)
    first = document["deployment"][0]
    tables = {
        ClusterSettings: document["cluster"],
        GatewaySettings: document["gateway"],
        GatewayKey: document["gateway"]["keys"][0],
        Deployment: first,
        **{kind: first[key] for key, kind in deployment_tables().items() if key != "runtime_config"},
        **{
            config_class(table.get("runtime", runtime)): table["runtime_config"]
            for table, runtime in zip(document["deployment"], ("openai", "anthropic", "gemini"), strict=True)
        },
    }
    variants = {"variant", "resource", "deployment", "api_version", "auth", "region", "credentials", "quota_project"}
    for kind, table in tables.items():
        known = fields_of(kind)
        assert table.keys() <= known.keys()
        missing = known.keys() - table.keys() - variants
        assert not missing - ({"project"} if kind is config_class("gemini") else set()), (kind, missing)
        for name, value in table.items():
            default = known[name].default
            examples = {"name", "model", "runtime", "fallback", "fallback_on", "keys", "models"}
            if default is not msgspec.NODEFAULT and default is not None and not table_of(known[name].type):
                expected = list(default) if isinstance(default, tuple) else default
                assert value == expected or name in examples, (kind, name)
