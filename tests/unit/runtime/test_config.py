"""What a valid project file turns into, and where it, its defaults and its secrets are found."""

import os
from pathlib import Path

import pytest

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment, RateLimits, RetryPolicy
from spillway.core.secrets import Secret, SecretRef
from spillway.providers.anthropic import AnthropicConfig
from spillway.providers.gemini import GeminiConfig, SafetySetting
from spillway.providers.litellm import LiteLlmConfig
from spillway.providers.openai import OpenAiConfig
from spillway.runtime.config import (
    deployment_for_model,
    find_config,
    load,
    require_config,
    resolve_secret,
    secret_warning,
)


@pytest.fixture
def loaded(tmp_path):
    def read(text):
        path = tmp_path / "spillway.toml"
        path.write_text(text)
        return load(path)

    return read


@pytest.fixture
def deployed(loaded):
    return lambda text: loaded(f'[[deployment]]\nname = "gpt-4o"\n{text}').deployments[0]


class TestDeployments:
    def test_absent_tables_are_the_defaults_of_the_options(self, deployed):
        assert deployed("") == Deployment(name="gpt-4o", runtime="openai")

    def test_every_key_arrives_in_its_option(self, deployed):
        found = deployed(
            """
            group = "small"
            weight = 3
            model = "o1-mini"
            replicas = 2
            idempotent = false
            fallback = ["small"]
            fallback_on = ["content_filtered"]
            fallback_after_s = 2
            on_disconnect = "drain"
            [deployment.rate_limits]
            requests_per_minute = 10_000
            burst_s = 10
            strict = true
            [deployment.retry]
            max_retries = 0
            retry_on = ["timeout"]
            [deployment.budget]
            max_spend_per_day_usd = 1_000
            on_exceeded = "warn"
            [deployment.pricing]
            input_per_mtok_usd = 0.15
            output_per_mtok_usd = 0
            """
        )
        assert (found.group, found.weight, found.provider_model, found.replicas) == ("small", 3, "o1-mini", 2)
        assert (found.idempotent, found.fallback, found.fallback_on) == (False, ("small",), ("content_filtered",))
        assert found.fallback_after_s == 2.0
        assert type(found.fallback_after_s) is float
        assert found.on_disconnect == "drain"
        assert found.rate_limits == RateLimits(requests_per_minute=10_000, burst_s=10.0, strict=True)
        assert found.retry == RetryPolicy(max_retries=0, retry_on=("timeout",))
        assert (found.budget.max_spend_per_day_usd, found.budget.on_exceeded) == (1000.0, "warn")
        assert (found.pricing.output_per_mtok_usd, found.pricing.reasoning_per_mtok_usd) == (0.0, None)

    @pytest.mark.parametrize(
        ("name", "runtime", "kind"),
        [
            ("gpt-4o-mini", "openai", OpenAiConfig),
            ("claude-haiku-4-5", "anthropic", AnthropicConfig),
            ("gemini-2.5-flash", "gemini", GeminiConfig),
            ("litellm/anything", "litellm", LiteLlmConfig),
        ],
    )
    def test_the_runtime_follows_from_the_model_and_has_its_own_options(self, loaded, name, runtime, kind):
        (found,) = loaded(f'[[deployment]]\nname = "{name}"\nruntime_config = {{ endpoint = "http://h" }}').deployments
        assert found.runtime == runtime
        assert found.runtime_config == kind(endpoint="http://h")

    def test_the_model_decides_over_the_name_and_the_file_over_the_model(self, loaded):
        text = '[[deployment]]\nname = "gpt-4o"\nmodel = "claude-x"\n[[deployment]]\nname = "b"\nmodel = "claude-x"\n'
        found = loaded(text + 'runtime = "litellm"\n').deployments
        assert [d.runtime for d in found] == ["anthropic", "litellm"]

    def test_a_runtimes_own_tables_and_lists_arrive(self, loaded):
        (found,) = loaded(
            '[[deployment]]\nname = "gemini-x"\n[deployment.runtime_config]\nvariant = "vertex"\nproject = "p"\n'
            'credentials = { from_file = "/sa.json" }\n'
            'safety = [{ category = "HARM", threshold = "NONE" }]\n'
        ).deployments
        assert found.runtime_config == GeminiConfig(
            variant="vertex",
            project="p",
            credentials=SecretRef(from_file="/sa.json"),
            safety=(SafetySetting(category="HARM", threshold="NONE"),),
        )

    def test_the_order_of_the_file_is_kept(self, loaded):
        names = ["o3", "o1", "o4"]
        found = loaded("".join(f'[[deployment]]\nname = "{name}"\n' for name in names))
        assert [d.name for d in found.deployments] == names

    def test_windows_line_ends_and_a_byte_order_mark_are_no_trouble(self, tmp_path):
        path = tmp_path / "spillway.toml"
        path.write_bytes(b"\xef\xbb\xbf[[deployment]]\r\nname = 'gpt-4o'\r\n")
        assert load(path).deployments[0].name == "gpt-4o"


class TestDefaults:
    TEXT = """
        [defaults.retry]
        max_retries = 7
        jitter = "none"
        [defaults.rate_limits]
        tokens_per_minute = 5
        [defaults.runtime_config]
        api_key = { from_env = "SHARED" }
        organization = "org"
        [[deployment]]
        name = "gpt-4o"
        [deployment.retry]
        jitter = "equal"
        [[deployment]]
        name = "claude-haiku"
        [deployment.runtime_config]
        api_key = { inline = "own" }
    """

    def test_a_deployments_own_keys_win_one_by_one(self, loaded):
        first, second = loaded(self.TEXT).deployments
        assert first.retry == RetryPolicy(max_retries=7, jitter="equal")
        assert second.retry == RetryPolicy(max_retries=7, jitter="none")

    def test_a_table_that_is_absent_by_default_comes_from_the_defaults(self, loaded):
        for found in loaded(self.TEXT).deployments:
            assert found.rate_limits == RateLimits(tokens_per_minute=5)
            assert found.budget is None

    def test_a_secret_is_replaced_and_not_mixed(self, loaded):
        first, second = loaded(self.TEXT).deployments
        assert first.runtime_config.api_key == SecretRef(from_env="SHARED")
        assert second.runtime_config.api_key == SecretRef(inline=Secret("own"))

    def test_a_runtimes_own_key_goes_only_where_it_means_something(self, loaded):
        first, second = loaded(self.TEXT).deployments
        assert first.runtime_config.organization == "org"
        assert isinstance(second.runtime_config, AnthropicConfig)

    @pytest.mark.parametrize(
        ("table", "key", "value"),
        [
            ("retry", "max_retries", 9),
            ("circuit_breaker", "failure_threshold", 9),
            ("timeouts", "idle_timeout_s", 9.0),
            ("serving", "queue_capacity", 9),
            ("http", "proxy", "http://p"),
            ("rate_limits", "requests_per_minute", 9),
            ("budget", "max_spend_per_day_usd", 9.0),
            ("runtime_config", "endpoint", "http://e"),
        ],
    )
    def test_every_table_may_stand_under_defaults(self, loaded, table, key, value):
        written = f'"{value}"' if isinstance(value, str) else value
        (found,) = loaded(f"[defaults.{table}]\n{key} = {written}\n[[deployment]]\nname = 'gpt-4o'\n").deployments
        assert getattr(getattr(found, table), key) == value


class TestAround:
    def test_everything_but_deployments_may_be_absent(self, loaded):
        found = loaded("[[deployment]]\nname = 'gpt-4o'\n")
        assert (found.cluster.name, found.cluster.store) == ("spillway", "memory")
        assert (found.gateway.bind, found.gateway.admin_key, found.gateway.keys) == ("127.0.0.1:8080", None, ())

    def test_the_gateway_and_its_keys(self, loaded):
        found = loaded(
            """
            [cluster]
            name = "production"
            [gateway]
            bind = "[::1]:80"
            admin_key = { from_env = "ADMIN" }
            [[gateway.keys]]
            name = "team-a"
            key = { from_env = "TEAM_A" }
            max_spend_per_day_usd = 50
            requests_per_minute = 600
            tokens_per_minute = 200_000
            models = ["gpt-*"]
            max_priority = "high"
            [[gateway.keys]]
            name = "team-b"
            key = { inline = "k" }
            [[deployment]]
            name = "gpt-4o"
            """
        )
        first, second = found.gateway.keys
        assert found.cluster.name == "production"
        assert found.gateway.admin_key == SecretRef(from_env="ADMIN")
        assert (first.max_spend_per_day_usd, first.requests_per_minute, first.tokens_per_minute) == (50.0, 600, 200_000)
        assert (first.models, first.max_priority) == (("gpt-*",), "high")
        assert (second.models, second.max_priority, second.max_spend_per_day_usd) == ((), "normal", None)
        assert [(use.key, use.ref.place) for use in found.secrets] == [
            ("gateway.admin_key", "environment variable ADMIN"),
            ("gateway.keys.key", "environment variable TEAM_A"),
            ("gateway.keys.key", "inline value"),
        ]

    def test_relative_paths_start_from_the_file(self, tmp_path, monkeypatch):
        folder = tmp_path / "conf"
        folder.mkdir()
        (folder / "spillway.toml").write_text(
            "[cluster]\nstate = 'x.db'\n[[deployment]]\nname = 'gpt-4o'\nhttp = { ca_file = 'ca.pem' }\n"
            "runtime_config = { api_key = [{ from_file = 'key' }, { from_file = '/abs/key' }] }\n"
        )
        monkeypatch.chdir(tmp_path)
        found = load("conf/spillway.toml")
        monkeypatch.chdir("/")
        (deployment,) = found.deployments
        assert found.cluster.state == str(folder / "x.db")
        assert deployment.http.ca_file == str(folder / "ca.pem")
        assert [ref.from_file for ref in deployment.runtime_config.api_key] == [str(folder / "key"), "/abs/key"]

    def test_the_default_state_is_beside_the_file(self, loaded, tmp_path):
        assert loaded("[[deployment]]\nname = 'gpt-4o'\n").cluster.state == str(tmp_path / "spillway.db")

    def test_each_secret_knows_its_place_and_no_secret_is_in_a_repr(self, loaded):
        found = loaded("[[deployment]]\nname = 'gpt-4o'\nruntime_config.api_key = { inline = 'hunter2' }\n")
        (use,) = found.secrets
        assert (use.owner, use.key) == ("gpt-4o", "runtime_config.api_key")
        assert use.where.endswith("spillway.toml:3: [deployment.runtime_config] api_key")
        assert "hunter2" not in repr(found)


class TestFinding:
    def test_the_given_file_then_the_one_here_then_the_variables(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        environ = {"SPILLWAY_CONFIG": "/etc/s.toml"}
        assert find_config(None, {}) is None
        assert find_config(None, environ) == Path("/etc/s.toml")
        (tmp_path / "spillway.toml").touch()
        assert find_config(None, environ) == Path("spillway.toml")
        assert find_config("mine.toml", environ) == Path("mine.toml")

    def test_no_file_at_all_is_an_error_that_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match="^no spillway.toml here and SPILLWAY_CONFIG is not set; `spillway init`"):
            require_config(None, {})


class TestWithoutAFile:
    @pytest.mark.parametrize(
        ("model", "environ", "config"),
        [
            ("gpt-4o", {"OPENAI_API_KEY": "k"}, OpenAiConfig(api_key=SecretRef(from_env="OPENAI_API_KEY"))),
            (
                "gpt-4o",
                {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://h/v1"},
                OpenAiConfig(endpoint="http://h/v1", api_key=SecretRef(from_env="OPENAI_API_KEY")),
            ),
            (
                "claude-x",
                {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": "http://h", "OPENAI_BASE_URL": "http://other"},
                AnthropicConfig(endpoint="http://h", api_key=SecretRef(from_env="ANTHROPIC_API_KEY")),
            ),
            (
                "gemini-x",
                {"GOOGLE_API_KEY": "k", "GOOGLE_GEMINI_BASE_URL": "http://g"},
                GeminiConfig(endpoint="http://g", api_key=SecretRef(from_env="GOOGLE_API_KEY")),
            ),
        ],
    )
    def test_the_model_and_the_usual_variables_suffice(self, model, environ, config):
        found = deployment_for_model(model, environ)
        assert found == Deployment(name=model, runtime=found.runtime, runtime_config=config)

    def test_an_endpoint_given_is_before_the_variables(self):
        environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://env/v1"}
        assert deployment_for_model("gpt-4o", environ, "http://given/v1").runtime_config.endpoint == "http://given/v1"

    @pytest.mark.parametrize(
        ("model", "environ", "line"),
        [
            ("gpt-4o", {"OPENAI_API_KEY": ""}, "OPENAI_API_KEY is not set, and no spillway.toml says where the key is"),
            ("gemini-x", {}, "GEMINI_API_KEY or GOOGLE_API_KEY is not set, and no spillway.toml says where the key is"),
            ("llama\n", {}, 'no runtime follows from the model "llama\\n"; describe it in a spillway.toml'),
            (
                "gpt-4o",
                {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "user:hunter2@h"},
                "gpt-4o: OPENAI_BASE_URL: endpoint must begin with http:// or https://",
            ),
        ],
    )
    def test_what_is_missing_is_one_line(self, model, environ, line):
        with pytest.raises(ConfigError) as caught:
            deployment_for_model(model, environ)
        assert str(caught.value) == line


class TestSecrets:
    def test_from_a_variable_a_file_and_a_command(self, tmp_path):
        (tmp_path / "key").write_text(" from-file \n")
        assert resolve_secret(SecretRef(from_env="A"), {"A": "from-env"}).reveal() == "from-env"
        assert resolve_secret(SecretRef(from_file=str(tmp_path / "key")), {}).reveal() == "from-file"
        assert resolve_secret(SecretRef(from_command=("echo", "from-command")), {}).reveal() == "from-command"
        assert resolve_secret(SecretRef(inline=Secret("inline")), {}).reveal() == "inline"

    @pytest.mark.parametrize(
        ("ref", "line"),
        [
            (SecretRef(from_env="NO"), "environment variable NO is not set"),
            (SecretRef(from_env="EMPTY"), "environment variable EMPTY is empty"),
            (SecretRef(from_file="/no/such"), "file /no/such can't be read: No such file or directory"),
            (SecretRef(from_command=("false", "hunter2")), "command false failed with exit status 1"),
            (SecretRef(from_command=("/no/such",)), "command /no/such can't be run: No such file or directory"),
        ],
    )
    def test_what_is_missing_names_the_place(self, ref, line):
        with pytest.raises(ConfigError) as caught:
            resolve_secret(ref, {"EMPTY": " "})
        assert str(caught.value) == line

    def test_a_path_that_is_none_is_one_line_too(self):
        with pytest.raises(ConfigError, match=r"^file a\\x00b: "):
            resolve_secret(SecretRef(from_file="a\0b"), {})

    def test_a_secret_in_the_file_and_one_that_all_can_read_are_warned_of(self, tmp_path):
        key = tmp_path / "key"
        key.write_text("k")
        os.chmod(key, 0o600)
        assert secret_warning(SecretRef(from_file=str(key))) is None
        os.chmod(key, 0o644)
        assert secret_warning(SecretRef(from_file=str(key))) == (
            f"{key} can be read by every user of this machine; chmod 600 it"
        )
        assert secret_warning(SecretRef(inline=Secret("hunter2"))) == (
            'the secret stands in the file; write { from_env = "NAME" } or { from_file = "PATH" }'
        )
        assert secret_warning(SecretRef(from_env="A")) is None
