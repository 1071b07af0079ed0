"""Nothing exists unwired: every option and every error has a test through the public door that names it."""

import ast
from pathlib import Path

import msgspec
import pytest

import spillway
from spillway.core import options
from spillway.core.errors import InferenceError
from spillway.providers.gemini.config import SafetySetting

HERE = Path(__file__).parent
TABLES = {
    "http": spillway.HttpConfig,
    "rate_limits": spillway.RateLimits,
    "retry": spillway.RetryPolicy,
    "circuit_breaker": spillway.CircuitBreakerConfig,
    "timeouts": spillway.Timeouts,
    "serving": spillway.Serving,
    "budget": spillway.Budget,
    "pricing": spillway.Pricing,
    "runtime_config": options.RuntimeConfig,
}
PROVIDERS = {
    "openai": spillway.OpenAiConfig,
    "anthropic": spillway.AnthropicConfig,
    "gemini": spillway.GeminiConfig,
    "litellm": spillway.LiteLlmConfig,
}
OF_THE_FILE = {"spillway.runtime.project"}  # [cluster] and [gateway]: not a deployment's
GATEWAYS = {"invalid_api_key": "a caller's key is the gateway's, tests/e2e"}


def all_options():
    found = {f"{table}.{field}" for table, struct in TABLES.items() for field in struct.__struct_fields__}
    found |= {field for field in spillway.Deployment.__struct_fields__ if field not in TABLES}
    found |= {"runtime_config"}
    common = set(options.RuntimeConfig.__struct_fields__)
    found |= {f"{name}.{f}" for name, struct in PROVIDERS.items() for f in struct.__struct_fields__ if f not in common}
    return found


def leaves(kind=InferenceError):
    below = [leaf for child in kind.__subclasses__() for leaf in leaves(child)]
    return below or ([kind] if kind.__module__ == "spillway.core.errors" else [])


def named(marker):
    """What `@pytest.mark.<marker>(...)` on tests in this folder names."""
    names = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                for call in node.decorator_list:
                    if isinstance(call, ast.Call) and ast.unparse(call.func) == f"pytest.mark.{marker}":
                        names |= {argument.value for argument in call.args}
    return names


def test_every_table_of_a_deployment_is_known_here():
    tables = {
        name
        for name, field in zip(
            spillway.Deployment.__struct_fields__, msgspec.structs.fields(spillway.Deployment), strict=True
        )
        if "Options" in str([k.__mro__ for k in _structs_in(field.type)])
    }
    assert tables == set(TABLES)
    known = {*TABLES.values(), *PROVIDERS.values(), spillway.Deployment, SafetySetting}
    ours = {kind for kind in _below(options.Options) if kind.__module__.startswith("spillway.")}
    assert {kind for kind in ours if kind.__module__ not in OF_THE_FILE} == known


def test_every_option_has_a_test_through_the_door():
    assert all_options() - named("option") == set()


def test_every_error_has_a_test_through_the_door():
    assert {leaf.code for leaf in leaves()} - named("error") - set(GATEWAYS) == set()


@pytest.mark.parametrize("marker", ["option", "error"])
def test_no_test_names_what_does_not_exist(marker):
    real = all_options() if marker == "option" else {leaf.code for leaf in leaves()}
    assert named(marker) - real == set()


def _structs_in(annotation):
    kinds = getattr(annotation, "__args__", (annotation,))
    return [kind for kind in kinds if isinstance(kind, type)]


def _below(kind):
    return {child for direct in kind.__subclasses__() for child in {direct, *_below(direct)}}
