"""Secrets that a plugin yields: through the file, the Cluster and `spillway check`; nothing of them is shown."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap

import pytest
from packages import install

import spillway
from spillway import Secret, SecretRef
from spillway.providers.secret_plugins import PluginCredential, known_plugins
from spillway.runtime.config import inspect, resolve_secret
from spillway.sim import SimConfig, Simulator

CANARY = "sk-QzJgHkQzJmNpQzJqRsQzJtUv"
SOURCE = """
import asyncio, threading
from spillway import ConfigError, Secret

asked = []
released = threading.Event()

def plain(options, *, environ):
    asked.append((dict(options), threading.current_thread().name))
    return Secret(environ["WHERE"] + options.get("field", ""))

class Provider:
    place = "the vault"
    made = 0

    def __init__(self, options, *, environ):
        Provider.made += 1
        asyncio.get_running_loop()
        self.environ = environ

    async def token(self):
        return Secret(self.environ["WHERE"])

async def coroutine(options, *, environ):
    return environ["WHERE"]

def number(options, *, environ):
    return 42

def empty(options, *, environ):
    return "  "

def says(options, *, environ):
    raise ConfigError("no field\\nin {environ[VAULT_TOKEN]} at " + environ["VAULT_TOKEN"] + " with " + options["token"])

def breaks(options, *, environ):
    raise RuntimeError("the key is " + environ["VAULT_TOKEN"])

def hangs(options, *, environ):
    released.wait(30)

def leaves(options, *, environ):
    raise SystemExit(3)
"""
NAMES = ("plain", "Provider", "coroutine", "number", "empty", "says", "breaks", "hangs", "leaves")


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    points = {name.lower(): f"made_up_vault:{name}" for name in NAMES} | {"broken": "made_up_vault:nothing"}
    folder = install(tmp_path / "site", "spillway.secrets", points, made_up_vault=SOURCE)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def ref(name, **options):
    return SecretRef(from_plugin=name, options=options)


async def value(ref, environ):
    return (await PluginCredential(ref, environ).token()).reveal()


@pytest.mark.parametrize("name", ["plain", "provider", "coroutine"])
async def test_a_plugin_may_be_a_function_a_class_or_a_coroutine_function(plugins, name):
    environ = {"WHERE": " one "}
    source = PluginCredential(ref(name), environ)
    assert (await source.token()).reveal() == "one"
    environ["WHERE"] = "two"
    assert (await source.token()).reveal() == "two"


async def test_a_function_runs_beside_the_loop_and_a_provider_is_kept(plugins):
    import made_up_vault

    assert await value(ref("plain", field="-f", path="p"), {"WHERE": "k"}) == "k-f"
    told, thread = made_up_vault.asked[-1]
    assert (told, thread) == ({"field": "-f", "path": "p"}, "spillway-secret-plugin")
    source = PluginCredential(ref("provider"), {"WHERE": "k"})
    await source.token()
    await source.token()
    assert made_up_vault.Provider.made == 1


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("number", "plugin number yields one of type int, not a Secret"),
        ("empty", "plugin empty is empty"),
        ("breaks", "plugin breaks failed: RuntimeError at made_up_vault.py:37"),
        ("leaves", "plugin leaves failed: RuntimeError"),
        ("broken", "plugin broken failed: AttributeError at "),
        ("nothing", "plugin nothing: no plugin 'nothing' (nearest: "),
    ],
)
async def test_what_goes_wrong_is_one_line(plugins, name, line):
    with pytest.raises(spillway.ConfigError) as caught:
        await value(ref(name), {"VAULT_TOKEN": CANARY})
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_the_words_of_a_plugin_are_shown_without_the_secrets_that_are_known(plugins):
    with pytest.raises(spillway.ConfigError) as caught:
        await value(ref("says", token="hunter2-hunter2"), {"VAULT_TOKEN": CANARY})
    assert str(caught.value) == ("plugin says: no field in {environ[VAULT_TOKEN]} at [redacted] with [redacted]")


async def test_a_plugin_that_hangs_is_given_up_and_holds_nobody(plugins):
    with pytest.raises(spillway.ConfigError, match=r"plugin hangs did not answer within 0\.05 s"):
        await PluginCredential(ref("hangs"), {}, timeout_s=0.05).token()
    import made_up_vault

    made_up_vault.released.set()


def test_what_a_plugin_is_told_is_in_no_repr_and_counts_as_a_value():
    one, other = ref("vault", token=CANARY), ref("vault", token="another")
    assert CANARY not in f"{one!r}{one}{one.options!r}"
    assert (one == ref("vault", token=CANARY), one == other, len({one, other})) == (True, False, 2)
    with pytest.raises(ValueError, match="^path must be text$"):
        SecretRef(from_plugin="vault", options={"path": 3})
    with pytest.raises(ValueError, match="they need from_plugin"):
        SecretRef(from_env="A", options={"path": "p"})
    config = spillway.OpenAiConfig(api_key={"from_plugin": "vault", "path": "p"})
    assert config.api_key == ref("vault", path="p")


def test_plugins_are_found_by_name_and_loaded_by_use_only(plugins):
    assert {"plain", "broken"} <= set(known_plugins())
    code = "import sys, spillway.runtime.config as c; c.inspect('spillway.toml'); print('made_up_vault' in sys.modules)"
    (plugins / "spillway.toml").write_text(
        "[[deployment]]\nname = 'gpt-4o'\nruntime_config = { api_key = { from_plugin = 'plain' } }\n"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=plugins, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def problems(tmp_path, secret):
    path = tmp_path / "spillway.toml"
    path.write_text(f"[[deployment]]\nname = 'gpt-4o'\nruntime_config = {{ api_key = {secret} }}\n")
    return [line.removeprefix(f"{path}:3: [deployment.runtime_config") for line in inspect(path)[1]]


@pytest.mark.parametrize(
    ("secret", "line"),
    [
        ("{ from_plugn = 'plain' }", '.api_key] unknown key "from_plugn" (did you mean "from_plugin"?)'),
        ("{ from_plugin = 'plan' }", '.api_key] from_plugin "plan" is not one of '),
        ("{ from_plugin = 'hunter2hunter2' }", ".api_key] from_plugin must be one of "),
        ("{ from_plugin = 3 }", ".api_key] from_plugin: expected text, got an integer"),
        ("{ from_plugin = 'plain', path = 3 }", ".api_key] path: expected text, got an integer"),
        ("{ from_plugin = 'plain', from_env = 'A' }", "] a secret needs exactly one of "),
        ("[{ from_plugin = 'plain', path = ['a'] }]", ".api_key] path: expected text, got a list"),
    ],
)
def test_a_plugin_in_the_wrong_shape_is_one_line_with_its_place(plugins, tmp_path, secret, line):
    (found,) = problems(tmp_path, secret)
    assert line in found
    assert "hunter2" not in found


def test_without_any_plugin_the_line_says_how_one_is_found(tmp_path):
    (found,) = problems(tmp_path, "{ from_plugin = 'vault' }")
    assert found.endswith("no installed package has an entry point of the group spillway.secrets")


async def test_a_cluster_asks_the_plugin_at_its_start_and_at_each_rebuild(plugins, tmp_path):
    environ = {"WHERE": "sk-one"}
    async with Simulator(SimConfig(seed=1)) as sim:
        path = tmp_path / "spillway.toml"
        path.write_text(
            textwrap.dedent(f"""
            [[deployment]]
            name = "gpt-4o-mini"
            [deployment.runtime_config]
            endpoint = "{sim.url}/v1"
            api_key = {{ from_plugin = "plain", path = "secret/data/openai", field = "" }}
            """)
        )
        sim.set_valid_keys(frozenset({"sk-one"}))
        async with spillway.Cluster.from_file(path, environ=environ) as cluster:
            await cluster.generate("gpt-4o-mini", "Say hello")
            sim.set_valid_keys(frozenset({"sk-two"}))
            environ["WHERE"] = "sk-two"
            answer = await cluster.generate("gpt-4o-mini", "Say hello")
            assert answer.attempts == 2
            environ["WHERE"] = "sk-three"
            sim.set_valid_keys(None)
            await cluster.deployment("gpt-4o-mini").rebuild_session()
            await cluster.generate("gpt-4o-mini", "Say hello")
        assert sim.stats()["by_key"] == {"sk-one": 2, "sk-two": 1, "sk-three": 1}


async def test_a_cluster_whose_plugin_fails_says_so_in_its_words(plugins):
    config = spillway.OpenAiConfig(endpoint="http://127.0.0.1:9/v1", api_key=ref("breaks"))
    deployment = spillway.Deployment(name="gpt-4o-mini", runtime_config=config)
    async with spillway.Cluster([deployment], environ={"VAULT_TOKEN": CANARY}) as cluster:
        with pytest.raises(spillway.Unauthorized, match="plugin breaks failed: RuntimeError") as caught:
            await cluster.generate("gpt-4o-mini", "Say hello")
        assert caught.value.reason == "rebuild_failed"
        assert CANARY not in repr(caught.value)


async def test_a_cluster_does_not_start_with_a_plugin_that_there_is_not(plugins):
    config = spillway.OpenAiConfig(api_key=ref("plian"))
    with pytest.raises(spillway.ConfigError, match="no plugin 'plian' \\(nearest: 'plain'\\)"):
        async with spillway.Cluster([spillway.Deployment(name="gpt-4o-mini", runtime_config=config)], environ={}):
            pass


def test_a_secret_is_resolved_without_a_loop(plugins):
    assert resolve_secret(ref("coroutine"), {"WHERE": "k"}) == Secret("k")


async def test_check_resolves_it_and_shows_nothing(plugins):
    (plugins / "spillway.toml").write_text(
        textwrap.dedent("""
        [[deployment]]
        name = "gpt-4o-mini"
        [deployment.runtime_config]
        api_key = [{ from_plugin = "plain" }, { from_plugin = "says", token = "hunter2hunter2" }]
        """)
    )
    environ = {**os.environ, "WHERE": CANARY, "VAULT_TOKEN": CANARY, "PYTHONPATH": str(plugins)}
    command = [sys.executable, "-m", "spillway", "check", "--json"]
    run = await asyncio.to_thread(
        subprocess.run, command, cwd=plugins, env=environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    secrets = json.loads(run.stdout)["deployments"][0]["secrets"]
    assert secrets == [{"place": "plugin plain", "state": "ok"}, {"place": "plugin says", "state": "missing"}]
    for shown in (run.stdout, run.stderr):
        assert not any(CANARY[at : at + 8] in shown for at in range(len(CANARY) - 7))
        assert "hunter2" not in shown
