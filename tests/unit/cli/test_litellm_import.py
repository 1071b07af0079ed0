"""Each shape of configuration becomes a project file that loads, and says line by line what it leaves out."""

import tomllib

import litellm_shapes as shapes
import pytest

from spillway.cli.litellm_config import convert
from spillway.cli.litellm_config.conversion import NothingLeftError
from spillway.core.errors import ConfigError
from spillway.runtime.config import load

ENVIRON = {"OWN_BASE": "http://own:9/v1", "PROJECT": "from-env"}


@pytest.fixture
def brought(tmp_path):
    """`brought(text)`: deployments by name, the whole document, and the findings; the file loads."""

    def bring(text, environ=ENVIRON):
        converted = convert(text.lstrip("\n"), "c.yaml", environ)
        path = tmp_path / "spillway.toml"
        path.write_text(converted.text)
        project = load(path)
        document = tomllib.loads(converted.text)
        assert len(project.deployments) == converted.deployments == len(document["deployment"])
        return {each["name"]: each for each in document["deployment"]}, document, list(converted.findings)

    return bring


def has(findings, *wanted):
    """Every wanted `line: key: part of why` is found, and nothing else."""
    for line, key, why in wanted:
        matching = [text for text in findings if text.startswith(f"c.yaml:{line}: {key}: ")]
        assert any(why in text for text in matching), (line, key, why, findings)
    assert len(findings) == len(wanted), findings


def test_simple(brought):
    made, document, findings = brought(shapes.SIMPLE)
    assert made["gpt-4o"] == {
        "name": "gpt-4o", "runtime": "openai", "model": "gpt-4o",
        "runtime_config": {"api_key": {"from_env": "OPENAI_API_KEY"}},
    }  # fmt: skip
    assert made["haiku"]["runtime"] == "anthropic"
    assert made["haiku"]["runtime_config"] == {
        "endpoint": "https://claude.example", "api_key": {"from_env": "MY_ANTHROPIC_KEY"},
    }  # fmt: skip
    assert made["bare"]["runtime_config"]["api_key"] == {"from_env": "OPENAI_API_KEY"}
    assert document["gateway"] == {"bind": "127.0.0.1:4000"}
    has(findings)


def test_a_group_of_azure_s_and_openai_s(brought):
    made, _, findings = brought(shapes.AZURE_GROUP)
    assert list(made) == ["eu", "gpt-4-2", "gpt-4-3"]
    assert {each["group"] for each in made.values()} == {"gpt-4"}
    assert [each.get("weight") for each in made.values()] == [2, 4, None]
    assert made["eu"]["model"] == "gpt-4o"
    assert made["eu"]["runtime_config"] == {
        "endpoint": "https://eu.openai.azure.com", "api_key": {"from_env": "AZURE_EU"}, "variant": "azure",
        "deployment": "eu-gpt", "api_version": "2024-10-21",
    }  # fmt: skip
    assert made["eu"]["rate_limits"] == {"requests_per_minute": 600, "tokens_per_minute": 60000}
    assert made["gpt-4-2"]["runtime_config"]["auth"] == "entra"
    assert made["gpt-4-2"]["runtime_config"]["api_key"] == {"from_env": "ENTRA"}
    has(findings, (20, "router_settings.routing_strategy", "by weight, then least busy"))


def test_weights_and_names_that_clash(brought):
    made, _, findings = brought(shapes.WEIGHTS)
    assert [(name, each.get("group"), each.get("weight")) for name, each in made.items()] == [
        ("m-1-1", "m", 9),
        ("m-2", "m", None),
        ("m-1", None, None),
    ]
    has(findings)


def test_fallbacks_retries_and_cooldowns(brought):
    made, document, findings = brought(shapes.FALLBACKS)
    for name in ("big-1", "big-2"):
        assert made[name]["fallback"] == ["small", "long"]
        assert made[name]["fallback_on"] == ["content_filtered"]
    assert made["small"]["fallback"] == ["long"]
    assert made["small"]["fallback_on"] == ["context_length_exceeded"]
    assert "fallback" not in made["long"]
    assert {each["unsupported"] for each in made.values()} == {"warn"}
    assert document["defaults"] == {
        "retry": {"max_retries": 2, "initial_backoff_s": 2.0},
        "circuit_breaker": {
            "failure_threshold": 4, "window_s": 60.0, "open_duration_s": 600.0, "max_open_duration_s": 600.0,
        },
        "timeouts": {"unary_timeout_s": 90.0},
    }  # fmt: skip
    has(
        findings,
        (6, "model_list[4].litellm_params.model", "'bedrock'"),
        (11, "litellm_settings.fallbacks[0]", "'gone'"),
        (11, "litellm_settings.fallbacks[0]", "'nobody'"),
        (11, "litellm_settings.fallbacks[1]", "every entry of it is left out"),
        (13, "litellm_settings.context_window_fallbacks[0]", "after other errors too"),
        (15, "litellm_settings.content_policy_fallbacks[0]", "after other errors too"),
    )


def test_budgets(brought):
    made, _, findings = brought(shapes.BUDGETS)
    assert {name: each.get("budget") for name, each in made.items()} == {
        "day": {"max_spend_per_day_usd": 10.0},
        "hour": {"max_spend_per_hour_usd": 0.5},
        "month": {"max_spend_per_month_usd": 100.0},
        "week": None,
        "ever": None,
        "unpriced": None,
        "priced": {"max_spend_per_day_usd": 5.0},
        "google": {"max_spend_per_day_usd": 7.0},
    }
    assert made["priced"]["pricing"] == {"input_per_mtok_usd": 0.15, "output_per_mtok_usd": 0.6}
    has(
        findings,
        (9, "model_list[3].litellm_params.max_budget", "for '7d'"),
        (11, "model_list[4].litellm_params.max_budget", "without an end"),
        (12, "model_list[5]", "the price of 'my-own' is unknown"),
        (27, "router_settings.provider_budget_config.openai", "6 deployments"),
        (28, "router_settings.provider_budget_config.groq", "no deployment of it"),
    )


def test_what_copies_openai_s_api(brought):
    made, _, findings = brought(shapes.COMPATIBLE)
    configs = {name: each["runtime_config"] for name, each in made.items()}
    assert configs == {
        "vllm": {"endpoint": "http://gpu:8000/v1", "api_key": {"inline": "none"}},
        "own": {"endpoint": "http://own:9/v1", "api_key": {"from_env": "OWN_KEY"}},
        "fast": {"endpoint": "https://api.groq.com/openai/v1", "api_key": {"from_env": "GROQ_API_KEY"}},
        "deep": {"endpoint": "https://openrouter.ai/api/v1", "api_key": {"from_env": "OR"}},
        "local": {"endpoint": "http://box:11434/v1", "api_key": {"inline": "none"}},
        "proxied": {
            "endpoint": "http://other:4000/v1", "api_key": {"from_env": "LITELLM_PROXY_API_KEY"}, "tags": ["a", "b"],
        },
        "named": {"endpoint": "http://x/v1", "api_key": {"from_env": "OPENAI_API_KEY"}},
    }  # fmt: skip
    assert made["proxied"]["runtime"] == "litellm"
    assert {each["runtime"] for name, each in made.items() if name != "proxied"} == {"openai"}
    assert made["deep"]["model"] == "deepseek/deepseek-r1"
    has(
        findings,
        (2, "model_list[0].litellm_params.model", "no api_key"),
        (6, "model_list[4].litellm_params.model", "no api_key"),
        (9, "model_list[7].litellm_params.api_base", "NOT_SET is not set here"),
        (9, "model_list[7].litellm_params.model", "left out"),
        (10, "model_list[8].litellm_params.model", "without an api_base"),
    )


def test_vertex(brought):
    made, _, findings = brought(shapes.VERTEX)
    assert {name: each["runtime_config"] for name, each in made.items()} == {
        "flash": {
            "variant": "vertex", "project": "proj", "region": "europe-west4",
            "credentials": {"from_file": "/secrets/sa.json"},
        },
        "env": {"variant": "vertex", "project": "from-env", "credentials": {"from_env": "SA_JSON"}},
    }  # fmt: skip
    has(
        findings,
        (14, "model_list[2].litellm_params.model", "only Gemini"),
        (16, "model_list[3].litellm_params.model", "vertex_project"),
    )


def test_secrets_in_the_file_are_carried_and_said_and_never_shown(brought):
    made, document, findings = brought(shapes.INLINE)
    assert made["a"]["runtime_config"]["api_key"] == {"inline": "sk-VERYSECRET1"}
    assert made["b"]["runtime_config"]["api_key"] == {"inline": "sk-VERYSECRET2"}
    assert made["c"]["runtime_config"]["api_key"] == {"from_env": "REALLY_HERE"}
    assert document["gateway"]["admin_key"] == {"inline": "sk-VERYSECRET4"}
    assert convert(shapes.INLINE, "c.yaml", {}).inline
    assert not convert(shapes.SIMPLE, "c.yaml", {}).inline
    assert not any("VERYSECRET" in text for text in findings)
    inline = "stands in the file"
    has(
        findings,
        (2, "model_list[0].litellm_params.api_key", inline),
        (3, "model_list[1].litellm_params.api_key", inline),
        (8, "environment_variables.LANGFUSE_KEY", "nothing here sets variables"),
        (10, "general_settings.master_key", inline),
    )


def test_general_settings(brought):
    _, document, findings = brought(shapes.GENERAL)
    key = {"from_env": "LITELLM_MASTER_KEY"}
    assert document["gateway"] == {
        "bind": "0.0.0.0:4000", "admin_key": key, "keys": [{"name": "master", "key": key, "max_priority": "critical"}],
    }  # fmt: skip
    assert not any("VERYSECRET" in text for text in findings)
    has(
        findings,
        (5, "general_settings.database_url", "spillway keys create"),
        (6, "general_settings.alerting", "/metrics"),
        (7, "general_settings.background_health_checks", "no caller asked for"),
        (10, "litellm_settings.cache", "not cached"),
        (11, "litellm_settings.cache_params", "not cached"),
        (12, "litellm_settings.success_callback", "/metrics"),
        (13, "litellm_settings.max_budget", "a deployment's or a key's"),
        (14, "guardrails", "no guardrails"),
        (15, "include", "not read"),
    )


def test_wildcards(brought):
    made, _, findings = brought(shapes.WILDCARDS)
    assert list(made) == ["kept"]
    has(
        findings,
        (2, "model_list[0].litellm_params.model", "wildcard"),
        (3, "model_list[1].litellm_params.model", "wildcard"),
    )


def test_times_sizes_and_what_is_served(brought):
    made, _, findings = brought(shapes.TIMES)
    assert list(made) == ["a", "emb", "resp"]
    one = made["a"]
    assert one["rate_limits"] == {"tokens_per_minute": 5000, "concurrent_requests": 4}
    assert one["timeouts"] == {"unary_timeout_s": 30.0, "first_byte_timeout_s": 12.5}
    assert one["retry"] == {"max_retries": 0}
    assert one["pricing"] == {"cached_input_per_mtok_usd": 0.01}
    assert made["resp"]["runtime_config"]["api"] == "responses"
    has(
        findings,
        (10, "model_list[0].litellm_params.temperature", "callers send it"),
        (11, "model_list[0].litellm_params.rpm", "at least 1"),
        (12, "model_list[0].litellm_params.extra_headers", "headers"),
        (13, "model_list[0].litellm_params.order", "fallback"),
        (14, "model_list[0].model_info.max_tokens", "informs only"),
        (16, "model_list[2].model_info.mode", "'image_generation'"),
    )


def test_anchors_and_merges(brought):
    made, _, findings = brought(shapes.ANCHORS)
    assert made["a"]["runtime_config"]["api_key"] == made["b"]["runtime_config"]["api_key"] == {"from_env": "SHARED"}
    assert [each["timeouts"]["unary_timeout_s"] for each in made.values()] == [45.0, 60.0]
    has(findings, (1, "defaults", "nothing like it"))


def test_named_credentials(brought):
    made, _, findings = brought(shapes.CREDENTIALS)
    assert [each["runtime_config"].get("api_version") for each in made.values()] == ["2024-10-21", "2025-01-01", None]
    assert made["b"]["runtime_config"]["api_key"] == {"from_env": "SHARED"}
    has(findings, (8, "model_list[2].litellm_params.litellm_credential_name", "no credential 'absent'"))


def test_entries_that_are_wrong(brought):
    made, _, findings = brought(shapes.BROKEN_ENTRIES)
    assert list(made) == ["ok", "5"]
    assert set(made["ok"]) == {"name", "runtime", "model", "runtime_config"}
    assert sum("left out" in text for text in findings) >= 8
    assert any(text.startswith("c.yaml:6: model_list[4].litellm_params.rpm: ") for text in findings)
    assert any(text.startswith("c.yaml:8: router_settings: it must be a mapping") for text in findings)
    assert any("litellm_settings.fallbacks[0]: it must be a name" in text for text in findings)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is a mapping with a model_list"),
        ("just words", "is a mapping with a model_list"),
        ("[1, 2]", "is a mapping with a model_list"),
        ("general_settings: {}", "there is no model_list"),
        ("model_list:", "there is no model_list"),
        ("model_list: 7", "no entry of model_list"),
        ("model_list: []", "no entry of model_list"),
        ("model_list:\n\t- x", "c.yaml:2: not YAML"),
        ("model_list: [1", "not YAML"),
        ("a: b: c", "c.yaml:1: not YAML"),
        ("a: *nobody", "c.yaml:1: not YAML"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("x: \x00", "not YAML"),
        ("x: !!python/object/apply:os.system ['true']", "c.yaml:1: the tag !!python/object/apply:os.system"),
        ("x: 1\ny: !!python/name:os.system ''", "c.yaml:2: the tag"),
        ("x: !mine {a: 1}", "the tag !mine is not plain data"),
        ("x: !!binary aGk=", "the tag !!binary"),
        ("x: 2001-99-99", "not YAML"),
        ("a: &a [*a]", "an alias of what it stands in"),
        ("? [1, 2]\n: 3", "a key that is not a word"),
        ("a: " + "[" * 5000, "nests too deeply"),
    ],
)
def test_odd_yaml_is_one_line(text, says):
    with pytest.raises(ConfigError) as caught:
        convert(text, "c.yaml", {})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("c.yaml:")


def test_aliases_blow_nothing_up():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(ConfigError, match=r"c\.yaml:\d+: more than 200,000 values"):
        convert("\n".join(lines), "c.yaml", {})


def test_nothing_left_says_why():
    with pytest.raises(NothingLeftError) as caught:
        convert("model_list:\n- {model_name: a, litellm_params: {model: bedrock/x}}", "c.yaml", {})
    assert caught.value.findings[0].startswith("c.yaml:2: model_list[0].litellm_params.model: nothing here speaks to")


@pytest.mark.parametrize("word", ['quo"te', "back\\slash", "new\nline", "tab\t", "del\x7f", "ünï", "a.b/c d", "nul\\0"])
def test_any_name_survives(brought, word):
    import json

    made, _, _ = brought(f"model_list: [{{model_name: {json.dumps(word)}, litellm_params: {{model: openai/gpt-4o}}}}]")
    assert list(made) == [word.strip()]
