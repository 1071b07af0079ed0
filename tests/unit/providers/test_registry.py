"""Which runtime serves a deployment, and what it says when none does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment, RuntimeConfig
from spillway.core.secrets import Secret, SecretRef
from spillway.providers import registry
from spillway.providers.anthropic import AnthropicConfig
from spillway.providers.gemini import GeminiConfig
from spillway.providers.litellm import LiteLlmConfig
from spillway.providers.openai import OpenAiConfig
from spillway.providers.registry import config_class, infer_runtime, make_runner, runtime_of

KEYS = {
    name: f"sk-test-{name}"
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "LITELLM_API_KEY")
}


@pytest.mark.parametrize(
    ("model", "runtime"),
    [
        ("gpt-4o-mini", "openai"),
        ("o1", "openai"),
        ("o3-pro", "openai"),
        ("o4-mini", "openai"),
        ("text-embedding-3-small", "openai"),
        ("claude-haiku-4-5", "anthropic"),
        ("gemini-3.8-flash", "gemini"),
        ("litellm/gpt-4o", "litellm"),
        ("llama-4", None),
        ("", None),
    ],
)
def test_a_models_name_tells_its_runtime(model, runtime):
    assert infer_runtime(model) == runtime


@pytest.mark.parametrize(
    ("deployment", "kind"),
    [
        (Deployment(name="gpt-4o-mini"), "openai"),
        (Deployment(name="fast", model="claude-haiku-4-5"), "anthropic"),
        (Deployment(name="fast", runtime="gemini"), "gemini"),
        (Deployment(name="fast", runtime_config=LiteLlmConfig()), "litellm"),
        (Deployment(name="fast", runtime_config=OpenAiConfig(variant="azure", resource="r")), "azure"),
        (Deployment(name="fast", runtime="anthropic", runtime_config=RuntimeConfig(endpoint="http://h")), "anthropic"),
        (Deployment(name="gpt-4o", runtime_config=OpenAiConfig(api_key=(Secret("a"), Secret("b")))), "openai"),
    ],
)
def test_runners_are_made_for_all(deployment, kind):
    assert make_runner(deployment, environ=KEYS).runtime_kind == kind


@pytest.mark.parametrize(
    ("deployment", "environ", "words"),
    [
        (Deployment(name="d", model="llama-4"), KEYS, ["'d'", "llama-4", "openai, anthropic, gemini, litellm"]),
        (Deployment(name="d", runtime="opnai"), KEYS, ["unknown runtime 'opnai'", "nearest: 'openai'"]),
        (Deployment(name="gpt-4o"), {}, ["'gpt-4o'", "no API key", "OPENAI_API_KEY"]),
        (Deployment(name="gpt-4o"), {"OPENAI_API_KEY": ""}, ["no API key"]),
        (Deployment(name="gemini-3"), {}, ["GEMINI_API_KEY or GOOGLE_API_KEY"]),
        (
            Deployment(name="d", runtime_config=OpenAiConfig(variant="azure", resource="r")),
            {"OPENAI_API_KEY": "k"},
            ["AZURE_OPENAI_API_KEY"],
        ),
        (
            Deployment(name="gpt-4o", runtime_config=OpenAiConfig(api_key=SecretRef(from_env="MY_KEY"))),
            KEYS,
            ["environment variable MY_KEY is not set"],
        ),
        (Deployment(name="gpt-4o", runtime_config=OpenAiConfig(api_key=Secret(""))), KEYS, ["the API key is empty"]),
    ],
)
def test_what_does_not_fit_is_one_clear_line(deployment, environ, words):
    with pytest.raises(ConfigError) as caught:
        make_runner(deployment, environ=environ)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_service_account_without_the_extra_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.auth.crypt", None)
    config = GeminiConfig(variant="vertex", project="p", credentials=SecretRef(from_file="sa.json"))
    with pytest.raises(ConfigError, match=r"^deployment 'd': runtime_config.credentials: .* extra vertex: pip .*$"):
        make_runner(Deployment(name="d", runtime_config=config), environ=KEYS)


def test_options_are_told_by_runtime():
    assert [config_class(name) for name in registry.RUNTIMES] == [
        OpenAiConfig,
        AnthropicConfig,
        GeminiConfig,
        LiteLlmConfig,
    ]
    assert config_class("someone-elses") is RuntimeConfig


@pytest.mark.parametrize(
    "make",
    [
        lambda: AnthropicConfig(beta="one"),
        lambda: AnthropicConfig(anthropic_version=""),
        lambda: LiteLlmConfig(tags="one"),
        lambda: LiteLlmConfig(tags=("a,b",)),
    ],
)
def test_options_that_do_not_fit_are_refused(make):
    with pytest.raises(ValueError):
        make()


def test_a_third_party_adds_a_runtime_by_an_entry_point(monkeypatch):
    made = []

    class Point:
        name = "mine"

        def load(self):
            return lambda deployment, *, environ: made.append((deployment.name, environ)) or "runner"

    monkeypatch.setattr(registry, "entry_points", lambda *, group: [Point()] if group == "spillway.runtimes" else [])
    assert runtime_of(Deployment(name="d", runtime="mine")) == "mine"
    assert make_runner(Deployment(name="d", runtime="mine"), environ=KEYS) == "runner"
    assert made == [("d", KEYS)]
    with pytest.raises(ConfigError, match="nearest: 'mine'"):
        runtime_of(Deployment(name="d", runtime="mien"))


def test_no_provider_is_imported_before_a_runner_of_it_is_made():
    code = (
        "import sys, spillway.providers.registry as r\n"
        "r.infer_runtime('gpt-4o')\n"
        "print([m for m in sys.modules if m.startswith('spillway.providers.') or m == 'aiohttp'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['spillway.providers.registry']"
