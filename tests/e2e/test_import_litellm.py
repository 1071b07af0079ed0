"""`spillway import litellm` as a command: the file it writes passes `check`, and nothing is overwritten or shown."""

import os
import stat
import subprocess
import sys

import pytest

CONFIG = """\
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY, rpm: 100, tags: [x]}
  - model_name: gpt-4o
    litellm_params: {model: azure/eu, api_base: "https://eu.openai.azure.com", api_key: os.environ/AZURE_EU}
  - model_name: haiku
    litellm_params: {model: anthropic/claude-haiku-4-5, max_budget: 5, budget_duration: 1d}
router_settings:
  fallbacks: [{gpt-4o: [haiku]}]
general_settings:
  master_key: os.environ/LITELLM_MASTER_KEY
"""
KEYS = {"OPENAI_API_KEY": "a", "AZURE_EU": "b", "ANTHROPIC_API_KEY": "c", "LITELLM_MASTER_KEY": "d"}


@pytest.fixture
def spillway(tmp_path):
    """`spillway(*args, **environ)` runs a command in a folder of its own."""

    def run(*args, **environ):
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONWARNINGS": "error", **environ}
        return subprocess.run(
            [sys.executable, "-m", "spillway", *args], cwd=tmp_path, env=env, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    run.folder = tmp_path
    (tmp_path / "config.yaml").write_text(CONFIG)
    return run


def test_what_it_writes_passes_the_check(spillway):
    ended = spillway("import", "litellm", "config.yaml")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "wrote spillway.toml: 3 deployments, 1 note; `spillway check` looks for its secrets\n"
    assert ended.stderr.splitlines() == [
        "note: config.yaml:3: model_list[0].litellm_params.tags: requests are not routed by tags"
    ]
    checked = spillway("check", **KEYS)
    assert checked.returncode == 0, checked.stderr
    assert "gpt-4o-2" in checked.stdout
    assert stat.S_IMODE((spillway.folder / "spillway.toml").stat().st_mode) & 0o400
    assert sorted(path.name for path in spillway.folder.glob("*spillway*")) == ["spillway.toml"]


def test_a_file_that_is_there_is_kept_unless_forced(spillway):
    (spillway.folder / "spillway.toml").write_text("mine")
    ended = spillway("import", "litellm", "config.yaml")
    assert ended.returncode == 2
    assert ended.stderr == "error: spillway.toml exists already; --force overwrites it\n"
    assert (spillway.folder / "spillway.toml").read_text() == "mine"
    assert spillway("import", "litellm", "config.yaml", "--force").returncode == 0
    assert "gpt-4o" in (spillway.folder / "spillway.toml").read_text()


def test_output_goes_where_it_is_told(spillway):
    (spillway.folder / "into").mkdir()
    assert "wrote into/spillway.toml" in spillway("import", "litellm", "config.yaml", "-o", "into").stdout
    assert spillway("import", "litellm", "config.yaml", "-o", "x.toml").returncode == 0
    printed = spillway("import", "litellm", "config.yaml", "-o", "-")
    assert printed.stdout == (spillway.folder / "x.toml").read_text()
    assert spillway("import", "litellm", "config.yaml", "-o", "no/such/x.toml").returncode == 2


def test_a_secret_that_is_carried_is_the_owner_s_only_and_never_shown(spillway):
    (spillway.folder / "config.yaml").write_text(CONFIG.replace("os.environ/OPENAI_API_KEY", "sk-VERYSECRET"))
    ended = spillway("import", "litellm", "config.yaml")
    assert ended.returncode == 0
    assert "VERYSECRET" not in ended.stdout + ended.stderr
    assert "stands in the file" in ended.stderr
    written = spillway.folder / "spillway.toml"
    assert "sk-VERYSECRET" in written.read_text()
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "VERYSECRET" not in (checked := spillway("check", **KEYS)).stdout + checked.stderr
    assert "the secret stands in the file" in checked.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"model_list: [", "not YAML"),
        (b"\xff\xfe\x00", "the file is not UTF-8 text"),
        (b"x: !!python/object:os.system {}", "is not plain data"),
        (b"a: '" + b"x" * (5 << 20) + b"'", "the file is larger than 4,194,304 bytes"),
        (b"model_list: [{model_name: a, litellm_params: {model: bedrock/x}}]", "no entry of model_list"),
        (None, "No such file"),
    ],
)
def test_what_can_t_be_read_is_said_and_nothing_is_written(spillway, content, says):
    config = spillway.folder / "config.yaml"
    config.unlink() if content is None else config.write_bytes(content)
    ended = spillway("import", "litellm", "config.yaml")
    assert ended.returncode == 2
    assert says in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert not (spillway.folder / "spillway.toml").exists()


def test_it_says_what_it_is_for(spillway):
    assert "litellm" in spillway("import", "--help").stdout
    assert "--force" in spillway("import", "litellm", "--help").stdout
    assert spillway("import", "nonsense").returncode == 2
