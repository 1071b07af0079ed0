"""Every runtime and variant, pointed at a simulator."""

from __future__ import annotations

from spillway.core.options import Deployment
from spillway.core.secrets import Secret
from spillway.providers.anthropic import AnthropicConfig
from spillway.providers.gemini import GeminiConfig
from spillway.providers.litellm import LiteLlmConfig
from spillway.providers.openai import OpenAiConfig
from spillway.providers.registry import make_runner

KEY = Secret("sk-test-1")
RUNTIMES = {
    "openai": ("gpt-4o-mini", lambda url: OpenAiConfig(endpoint=f"{url}/v1", api_key=KEY)),
    "azure": (
        "gpt-4o-mini",
        lambda url: OpenAiConfig(variant="azure", endpoint=url, api_version="2024-10-21", api_key=KEY),
    ),
    "azure-v1": ("gpt-4o-mini", lambda url: OpenAiConfig(variant="azure", endpoint=url, api_key=KEY)),
    "openai-responses": (
        "gpt-6-luna",
        lambda url: OpenAiConfig(endpoint=f"{url}/v1", api="responses", api_key=KEY),
    ),
    "azure-responses": (
        "gpt-4o-mini",
        lambda url: OpenAiConfig(
            variant="azure", endpoint=url, api_version="2025-04-01-preview", api="responses", api_key=KEY
        ),
    ),
    "azure-v1-responses": (
        "gpt-4o-mini",
        lambda url: OpenAiConfig(variant="azure", endpoint=url, api="responses", auth="entra", api_key=KEY),
    ),
    "anthropic": ("claude-haiku-4-5", lambda url: AnthropicConfig(endpoint=url, api_key=KEY)),
    "gemini": ("gemini-2.5-flash", lambda url: GeminiConfig(endpoint=url, api_key=KEY)),
    "vertex": (
        "gemini-3.8-flash",
        lambda url: GeminiConfig(variant="vertex", project="p", region="europe-west1", endpoint=url, api_key=KEY),
    ),
    "litellm": ("gpt-4o-mini", lambda url: LiteLlmConfig(endpoint=f"{url}/litellm/v1", api_key=KEY)),
    "litellm-claude": ("claude-opus-5-5", lambda url: LiteLlmConfig(endpoint=f"{url}/litellm/v1", api_key=KEY)),
}


def runner_of(runtime, url, **options):
    """A new runner of a runtime; unless another is named, its model is one that the runtime's provider has."""
    model, config = RUNTIMES[runtime]
    options.setdefault("model", model)
    return make_runner(Deployment(name=model, runtime_config=config(url), **options), environ={})
