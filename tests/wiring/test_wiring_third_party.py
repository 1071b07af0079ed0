"""Runtimes of third parties, found by entry point: their options, their keys, and what goes wrong, in one line each."""

import textwrap

import pytest
from packages import install

import spillway
from spillway import Deployment, Secret, SecretRef
from spillway.providers.registry import config_class, make_runner
from spillway.runtime.config import inspect
from spillway.sim import OpenAiDialect, SimConfig, Simulator

SOURCE = """
from typing import Any, ClassVar

import msgspec
from spillway import FinishReason, RuntimeConfig, TokenChunk, Usage
from spillway.providers import PlainStream, PlainWire, WireRuntime, encode_body, read_json
from spillway.testing import ScriptedRunner

made = []


class Tone(msgspec.Struct, frozen=True):
    pitch: float = 1.0


class MineConfig(RuntimeConfig, frozen=True, kw_only=True):
    runtime: ClassVar[str] = "mine"
    word: str | int = "w"
    weights: dict[str, float] = {}
    tone: Tone = Tone()


class MineWire(PlainWire):
    kind = "mine"

    def __init__(self, config, model):
        self.url = f"{config.endpoint}/v1/mine"
        made.append(config)

    def encode_chat(self, request, losses, *, stream):
        return self.url, encode_body({"model": "m", "messages": request.messages})

    def decode(self, body):
        whole = read_json(body, dict[str, Any])
        usage = Usage(input_tokens=1, output_tokens=1)
        text = whole["choices"][0]["message"]["content"]
        return [TokenChunk(text_delta=text, finish_reason=FinishReason.STOP, usage=usage)], "id"

    def open_stream(self):
        raise AssertionError


runtime = WireRuntime(MineWire, config=MineConfig, key_variables=("MINE_KEY",))


def plain(deployment, *, environ):
    made.append(deployment)
    return ScriptedRunner(["plain"])


def failing(deployment, *, environ):
    raise RuntimeError("the key is " + environ["MINE_KEY"])


class odd:
    config = dict
"""
POINTS = {"mine": "made_up_runtime:runtime", "plain": "made_up_runtime:plain", "failing": "made_up_runtime:failing"}
POINTS |= {"odd": "made_up_runtime:odd", "gone": "made_up_runtime:gone", "absent": "made_up_absent:x"}
PRICING = spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(install(tmp_path / "site", "spillway.runtimes", POINTS, made_up_runtime=SOURCE)))
    import made_up_runtime

    return made_up_runtime


@pytest.fixture
async def sim():
    async with Simulator(SimConfig(seed=1), dialects={"/v1/mine": OpenAiDialect()}) as sim:
        yield sim


def file_of(tmp_path, runtime, lines=""):
    path = tmp_path / "spillway.toml"
    table = f"[[deployment]]\nname = 'm'\nruntime = '{runtime}'\n[deployment.runtime_config]\n"
    path.write_text(table + textwrap.dedent(lines))
    return path


async def test_a_pool_of_keys_takes_turns_there_too(mine, sim, tmp_path):
    path = file_of(
        tmp_path, "mine", f"endpoint = '{sim.url}'\napi_key = [{{ from_env = 'A' }}, {{ from_env = 'B' }}]\nword = 3\n"
    )
    environ = {"A": "sk-a", "B": "sk-b"}
    async with spillway.Cluster.from_file(path, environ=environ) as cluster:
        for _ in range(6):
            assert (await cluster.generate("m", "Say hello")).text
        with pytest.raises(spillway.BadRequest, match="there are no embeddings"):
            await cluster.embed("m", ["a"])
        with pytest.raises(spillway.BadRequest, match="can't be counted"):
            await cluster.count_tokens("m", "a")
    assert sim.stats()["by_key"] == {"sk-a": 3, "sk-b": 3}
    assert [config.api_key for config in mine.made] == [SecretRef(from_env="A"), SecretRef(from_env="B")]
    assert {config.word for config in mine.made} == {3}


async def test_a_key_is_found_in_the_variable_that_the_runtime_names(mine, sim):
    deployment = Deployment(name="m", runtime_config=mine.MineConfig(endpoint=sim.url))
    async with spillway.Cluster([deployment], environ={"MINE_KEY": "sk-env"}) as cluster:
        await cluster.generate("m", "Say hello")
    assert list(sim.stats()["by_key"]) == ["sk-env"]
    with pytest.raises(spillway.ConfigError, match=r"no API key: set MINE_KEY, or runtime_config\.api_key"):
        make_runner(deployment, environ={})


async def test_a_plain_factory_gets_what_all_runtimes_have_in_common(mine, tmp_path):
    path = file_of(tmp_path, "plain", "endpoint = 'http://h'\n")
    async with spillway.Cluster.from_file(path, environ={}) as cluster:
        assert (await cluster.generate("m", "hi")).text == "plain"
    assert mine.made[-1].runtime_config == spillway.RuntimeConfig(endpoint="http://h")
    make_runner(Deployment(name="m", runtime="plain"), environ={})
    assert mine.made[-1].runtime_config == spillway.RuntimeConfig()


def test_options_of_any_shape_are_held_to_their_types(mine, tmp_path):
    assert config_class("mine") is mine.MineConfig
    path = file_of(tmp_path, "mine", "weights = { a = 0.5 }\ntone = { pitch = 2 }\nword = 3\n")
    project, problems = inspect(path)
    assert problems == []
    config = project.deployments[0].runtime_config
    assert (config.weights, config.tone.pitch, config.word) == ({"a": 0.5}, 2.0, 3)
    for lines in ("weights = 3\n", "tone = { pich = 2 }\n", "word = []\n"):
        assert len(inspect(file_of(tmp_path, "mine", lines))[1]) == 1
    with pytest.raises(ValueError, match="^weights must be a dict, not 3$"):
        mine.MineConfig(weights=3)
    with pytest.raises(ValueError, match="^word must be text"):
        mine.MineConfig(word=1.5)


@pytest.mark.parametrize(
    ("runtime", "line"),
    [
        ("gone", "runtime 'gone' can't be loaded: AttributeError: module 'made_up_runtime' has no attribute 'gone'"),
        ("absent", "runtime 'absent' can't be loaded: ModuleNotFoundError: No module named 'made_up_absent'"),
        ("odd", "runtime 'odd': its config is no subclass of spillway.RuntimeConfig"),
    ],
)
def test_a_runtime_that_cannot_be_had_is_one_line(mine, tmp_path, runtime, line):
    assert inspect(file_of(tmp_path, runtime))[1] == [f"{tmp_path}/spillway.toml:3: [deployment] {line}"]
    with pytest.raises(spillway.ConfigError, match="^runtime "):
        make_runner(Deployment(name="m", runtime=runtime), environ={})


def test_a_factory_that_fails_shows_what_and_not_why_for_that_may_be_a_key(mine):
    with pytest.raises(spillway.ConfigError) as caught:
        make_runner(Deployment(name="m", runtime="failing"), environ={"MINE_KEY": "hunter2"})
    assert str(caught.value) == "deployment 'm': runtime 'failing' failed to make its runner: RuntimeError"


def test_options_of_another_runtime_do_not_fit(mine):
    config = spillway.OpenAiConfig(api_key=Secret("k"))
    with pytest.raises(ValueError, match="runtime_config is that of the runtime 'openai', not of 'mine'"):
        Deployment(name="m", runtime="mine", runtime_config=config)


def test_a_third_partys_package_is_not_loaded_for_a_file_that_does_not_use_it(mine, tmp_path, monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "made_up_runtime")
    path = tmp_path / "spillway.toml"
    path.write_text("[defaults.runtime_config]\norganization = 'o'\n[[deployment]]\nname = 'gpt-4o'\n")
    assert inspect(path)[1] == []
    assert "made_up_runtime" not in sys.modules
