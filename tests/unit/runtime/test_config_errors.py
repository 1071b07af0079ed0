"""Everything that can be wrong with a project file, and the one line that says so."""

import pytest

from spillway.core.errors import ConfigError
from spillway.runtime.config import inspect, load

GOOD = '[[deployment]]\nname = "gpt-4o-mini"\n'


@pytest.fixture
def said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def problems(text):
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "spillway.toml").write_bytes(data)
        return inspect("spillway.toml")[1]

    return problems


CASES = {
    "unknown key": (
        GOOD + "[deployment.retry]\nmax_retry = 3\n",
        'spillway.toml:4: [deployment.retry] unknown key "max_retry" (did you mean "max_retries"?)',
    ),
    "unknown key of a deployment": (
        GOOD + "fallbacks = []\n",
        'spillway.toml:3: [deployment] unknown key "fallbacks" (did you mean "fallback"?)',
    ),
    "unknown key that resembles none": (
        "[cluster]\nqqq = 1\n" + GOOD,
        'spillway.toml:2: [cluster] unknown key "qqq" (known: name, store, sync_s, allowance_s, weight, keep_share_s, state)',
    ),
    "unknown table": (
        GOOD + "[clusters]\n",
        'spillway.toml:3: unknown key "clusters" (did you mean "cluster"?)',
    ),
    "key of another provider": (
        GOOD + "[deployment.runtime_config]\nbeta = []\n",
        'spillway.toml:4: [deployment.runtime_config] unknown key "beta" (known: endpoint, api_key, organization, '
        "project, variant, resource, deployment, api_version, api, auth)",
    ),
    "in an inline table": (
        GOOD + "retry = { max_retries = 1,\tmax_backof_s = 2 }\n",
        'spillway.toml:3: [deployment.retry] unknown key "max_backof_s" (did you mean "max_backoff_s"?)',
    ),
    "as a dotted key": (
        GOOD + "\n\nserving.max_concurent = 3\n",
        'spillway.toml:5: [deployment.serving] unknown key "max_concurent" (did you mean "max_concurrent"?)',
    ),
    "in the second deployment": (
        GOOD + "[deployment.retry]\nmax_retries = 1\n" + '[[deployment]]\nname = "o1"\nretry = { max_retry = 1 }\n',
        'spillway.toml:7: [deployment.retry] unknown key "max_retry" (did you mean "max_retries"?)',
    ),
    "text for an integer": (
        GOOD + '[deployment.retry]\nmax_retries = "3"\n',
        "spillway.toml:4: [deployment.retry] max_retries: expected an integer, got text",
    ),
    "a fraction for an integer": (
        GOOD + "[deployment.rate_limits]\nrequests_per_minute = 1.5\n",
        "spillway.toml:4: [deployment.rate_limits] requests_per_minute: expected an integer, got a decimal number",
    ),
    "a boolean for a number": (
        GOOD + "[deployment.rate_limits]\nburst_s = true\n",
        "spillway.toml:4: [deployment.rate_limits] burst_s: expected a number, got a boolean",
    ),
    "a number for a boolean": (
        GOOD + "idempotent = 1\n",
        "spillway.toml:3: [deployment] idempotent: expected true or false, got an integer",
    ),
    "text for a list": (
        GOOD + 'fallback = "gpt-4o-mini"\n',
        "spillway.toml:3: [deployment] fallback: expected a list, got text",
    ),
    "a number in a list": (
        GOOD + "fallback = [\n  1,\n]\n",
        "spillway.toml:4: [deployment] fallback[1]: expected text, got an integer",
    ),
    "a number for a table": (
        GOOD + "retry = 3\n",
        "spillway.toml:3: [deployment] retry: expected a table, got an integer",
    ),
    "a list of tables for a table": (
        GOOD + "[[deployment.retry]]\nmax_retries = 1\n",
        "spillway.toml:3: [deployment] retry: expected a table, got a list",
    ),
    "one table for the deployments": (
        '[deployment]\nname = "gpt-4o-mini"\n',
        "spillway.toml:1: deployment: must be tables, each written [[deployment]]",
    ),
    "a date": (
        GOOD + "weight = 2030-01-01\n",
        "spillway.toml:3: [deployment] weight: expected an integer, got a date or time",
    ),
    "a number beyond 64 bits": (
        GOOD + "[deployment.budget]\nmax_spend_per_day_usd = 99999999999999999999\n",
        "spillway.toml:4: [deployment.budget] max_spend_per_day_usd: the number is too large",
    ),
    "no deployment": ("[cluster]\n", "spillway.toml:1: there is no [[deployment]]"),
    "no name": ('\n[[deployment]]\nmodel = "gpt-4o"\n', "spillway.toml:2: [deployment] name is missing"),
    "an empty name": (
        '[[deployment]]\nname = " "\nmodel = "gpt-4o"\n',
        "spillway.toml:2: [deployment] name must not be empty",
    ),
    "a name twice": (
        GOOD + "\n" + GOOD,
        'spillway.toml:5: [deployment] name "gpt-4o-mini" is taken by the deployment of line 2',
    ),
    "a name that is the group of others": (
        GOOD + '[[deployment]]\nname = "o1"\ngroup = "gpt-4o-mini"\n',
        'spillway.toml:2: [deployment] name "gpt-4o-mini" is also the group of line 5',
    ),
    "a fallback to nothing": (
        GOOD + 'fallback = ["gpt-4o-mini", "claude-hiaku"]\n[[deployment]]\nname = "claude-haiku"\n',
        'spillway.toml:3: [deployment] fallback "claude-hiaku" names no deployment or group '
        '(did you mean "claude-haiku"?)',
    ),
    "a fallback that resembles nothing": (
        GOOD + 'fallback = ["x"]\n',
        'spillway.toml:3: [deployment] fallback "x" names no deployment or group (known: gpt-4o-mini)',
    ),
    "a fallback_on that is no code": (
        GOOD + 'fallback_on = ["content_filter"]\n',
        'spillway.toml:3: [deployment] fallback_on "content_filter" is not one of rate_limited, backpressure, '
        "budget_exceeded, quota_exhausted, circuit_open, server_error, network_error, timeout, content_filtered, "
        "context_length_exceeded, bad_request, unauthorized_upstream, forbidden_upstream, stream_interrupted, "
        'model_not_found, invalid_api_key (did you mean "content_filtered"?)',
    ),
    "a negative limit": (
        GOOD + "[deployment.rate_limits]\n\nrequests_per_minute = -5\n",
        "spillway.toml:5: [deployment.rate_limits] requests_per_minute must be a number >= 1, not -5",
    ),
    "a negative cap": (
        GOOD + "[deployment.budget]\nmax_spend_per_day_usd = -0.5\n",
        "spillway.toml:4: [deployment.budget] max_spend_per_day_usd must be a number >= 0, not -0.5",
    ),
    "no number at all": (
        GOOD + "[deployment.timeouts]\nidle_timeout_s = nan\n",
        "spillway.toml:4: [deployment.timeouts] idle_timeout_s must be a number > 0, not nan",
    ),
    "a choice": (
        GOOD + '[deployment.retry]\njitter = "ful"\n',
        'spillway.toml:4: [deployment.retry] jitter "ful" is not one of none, equal, full (did you mean "full"?)',
    ),
    "a choice that resembles none": (
        GOOD + '[deployment.retry]\njitter = "sk-live-1234"\n',
        "spillway.toml:4: [deployment.retry] jitter must be one of none, equal, full",
    ),
    "a choice in a list": (
        GOOD + '[deployment.retry]\nretry_on = ["timeout", "server_eror"]\n',
        'spillway.toml:4: [deployment.retry] retry_on "server_eror" is not one of rate_limited, server_error, '
        'network_error, timeout (did you mean "server_error"?)',
    ),
    "a runtime": (
        GOOD + 'runtime = "opnai"\n',
        'spillway.toml:3: [deployment] runtime "opnai" is not one of openai, anthropic, gemini, litellm '
        '(did you mean "openai"?)',
    ),
    "a model that tells no runtime": (
        '[[deployment]]\nname = "fast"\nmodel = "llama-3"\n',
        'spillway.toml:3: [deployment] no runtime follows from the model "llama-3"; set runtime to one of openai, '
        "anthropic, gemini, litellm",
    ),
    "a limit group whose members differ": (
        GOOD
        + 'limit_group = "g"\n[[deployment]]\nname = "o1"\nlimit_group = "g"\nrate_limits = { tokens_per_minute = 5 }\n',
        'spillway.toml:6: [deployment] limit_group "g": rate_limits must be the same as in deployment "gpt-4o-mini"',
    ),
    "what only one provider's options refuse": (
        GOOD + '[deployment.runtime_config]\nvariant = "azure"\n',
        'spillway.toml:4: [deployment.runtime_config] variant = "azure" needs a resource or an endpoint',
    ),
    "an endpoint, which may hold a password": (
        GOOD + '[deployment.runtime_config]\nendpoint = "user:hunter2@host"\n',
        "spillway.toml:4: [deployment.runtime_config] endpoint must begin with http:// or https://",
    ),
    "a default table that there is not": (
        GOOD + "[defaults.rety]\n",
        'spillway.toml:3: [defaults] unknown key "rety" (did you mean "retry"?)',
    ),
    "a default outside of a table": (
        GOOD + "[defaults]\nmax_retries = 3\n",
        'spillway.toml:4: [defaults] unknown key "max_retries" (known: runtime_config, http, rate_limits, retry, '
        "circuit_breaker, timeouts, serving, budget, pricing)",
    ),
    "a default, said once for two deployments": (
        "[defaults.retry]\nmax_retries = -1\n" + GOOD + '[[deployment]]\nname = "o1"\n',
        "spillway.toml:2: [defaults.retry] max_retries must be a number >= 0, not -1",
    ),
    "a default that every deployment overrides": (
        '[defaults.retry]\njitter = 3\n[[deployment]]\nname = "o1"\nretry = { jitter = "full" }\n',
        "spillway.toml:2: [defaults.retry] jitter: expected one of none, equal, full, got an integer",
    ),
    "a default that no runtime knows": (
        GOOD + "[defaults.runtime_config]\norganisation = 1\n",
        'spillway.toml:4: [defaults.runtime_config] unknown key "organisation" (did you mean "organization"?)',
    ),
    "a store": (
        '[cluster]\nstore = "memcached://x"\n' + GOOD,
        'spillway.toml:2: [cluster] store must be "memory" or a URL that begins with redis:// or rediss://',
    ),
    "where the gateway listens": (
        '[gateway]\nbind = "8080"\n' + GOOD,
        "spillway.toml:2: [gateway] bind must be HOST:PORT, for example 127.0.0.1:8080",
    ),
    "a gateway key's class": (
        '[[gateway.keys]]\nname = "a"\nkey = { from_env = "A" }\nmax_priority = "hihg"\n' + GOOD,
        'spillway.toml:4: [gateway.keys] max_priority "hihg" is not one of background, normal, high, critical '
        '(did you mean "high"?)',
    ),
    "a gateway key's name twice": (
        '[[gateway.keys]]\nname = "a"\nkey = { from_env = "A" }\n' * 2 + GOOD,
        'spillway.toml:5: [gateway.keys] name "a" is taken by the key of line 2',
    ),
    "a gateway key as text": (
        '[[gateway.keys]]\nname = "a"\nkey = "sk-hunter2"\n' + GOOD,
        'spillway.toml:3: [gateway.keys] key: expected a table, got text; write { from_env = "NAME" } or { inline = … }',
    ),
    "a key with a line break in it": (
        GOOD + '"a\\nb" = 1\n',
        'spillway.toml:3: [deployment] unknown key "a\\nb" (known: name, group, weight, model, runtime, replicas, '
        "idempotent, fallback, fallback_on, fallback_after_s, limit_group, on_disconnect, unsupported, "
        "runtime_config, http, "
        "rate_limits, retry, circuit_breaker, timeouts, serving, budget, pricing)",
    ),
    "not TOML": ("[cluster]\nname = \n" + GOOD, "spillway.toml:2: not TOML: Invalid value"),
    "a key twice": (GOOD + 'name = "b"\n', "spillway.toml:3: not TOML: Cannot overwrite a value"),
    "not UTF-8": (b"[cluster]\nname = '\xff'\n", "spillway.toml:2: the file is not UTF-8 text"),
    "too deep": ("x = " + "[" * 5000, "spillway.toml:1: tables and lists are nested too deeply"),
    "cut off": (GOOD + "fallback = [\n", "spillway.toml:4: not TOML: Invalid value"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_what_is_wrong_and_where(said, case):
    text, line = CASES[case]
    assert said(text) == [line]


@pytest.mark.parametrize("case", CASES)
def test_loading_raises_that_line(said, case):
    text, line = CASES[case]
    said(text)
    with pytest.raises(ConfigError) as caught:
        load("spillway.toml")
    assert str(caught.value) == line


SECRETS = {
    "text": ('"sk-hunter2"', "3: [deployment.runtime_config] api_key: expected a table, got text; "),
    "a number": ("42424242", "3: [deployment.runtime_config] api_key: expected a table, got an integer; "),
    "text in a pool": ('[{ inline = "a" }, "hunter2"]', "3: [deployment.runtime_config] api_key[2]: expected a table"),
    "no pool": ("[]", "3: [deployment.runtime_config] api_key: a key pool needs at least one key"),
    "another key": ('{ from_evn = "hunter2" }', '3: [deployment.runtime_config.api_key] unknown key "from_evn" (did'),
    "two places": ('{ from_env = "A", inline = "hunter2" }', "a secret needs exactly one of from_env, from_file"),
    "no place": ("{}", "a secret needs exactly one of from_env, from_file, from_command, from_plugin, inline"),
    "an empty inline": ('{ inline = " " }', "inline: expected text, got an empty text"),
    "a number inline": ("{ inline = 42424242 }", "inline: expected text, got an integer"),
    "a key for a variable": ('{ from_env = "sk-hunter2" }', "from_env must be the name of an environment variable"),
    "another shape of key": ('{ from_env = "AIzahunter2" }', "from_env must be the name of an environment variable"),
    "a command in one text": ('{ from_command = "cat hunter2" }', "from_command: expected a list, got text"),
    "no command": ("{ from_command = [] }", "from_command must be a list that begins with the command"),
}


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_in_the_wrong_shape_is_refused_and_not_shown(said, case):
    value, line = SECRETS[case]
    (found,) = said(f"[[deployment]]\nname = 'gpt-4o'\nruntime_config = {{ api_key = {value} }}\n")
    assert line in found
    assert found.startswith("spillway.toml:3: [deployment.runtime_config")
    assert "hunter2" not in found
    assert "4242" not in found


def test_text_that_stands_where_a_secret_should_is_told_how_secrets_are_written(said):
    (found,) = said(GOOD + 'runtime_config = { api_key = "sk-hunter2" }\n')
    assert found == (
        "spillway.toml:3: [deployment.runtime_config] api_key: expected a table, got text; "
        'write { from_env = "NAME" } or { inline = … }'
    )


def test_all_problems_are_found_at_once_and_told_in_the_order_of_the_file(said):
    found = said("[gateway]\nbnd = 1\n" + GOOD + 'weight = "x"\nfallback = ["y"]\n[defaults.retry]\njitter = 1\n')
    assert [line.split(":")[1] for line in found] == ["2", "5", "6", "8"]


def test_a_missing_file_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^nothing\.toml: there is no such file; `spillway init` writes one$"):
        load("nothing.toml")


@pytest.mark.parametrize("path", ["folder", "nul\0byte", "/dev/zero"])
def test_what_is_no_file_is_one_line(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)
