"""LiteLLM's providers by the prefix of a model's name, and what speaks to each of them here."""

from __future__ import annotations

import msgspec

from spillway.providers.registry import infer_runtime

PREFIXES = {
    "openai": "openai",
    "azure": "azure",
    "azure_text": "azure",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "vertex_ai": "vertex",
    "vertex_ai_beta": "vertex",
    "litellm_proxy": "litellm",
    "custom_openai": "openai",
    "openai_like": "openai",
    "hosted_vllm": "openai",
    "lm_studio": "openai",
    "llamafile": "openai",
    "xinference": "openai",
    "infinity": "openai",
}
"""Prefixes and what serves them; those that need an `api_base` are among `NEEDS_BASE`."""

NEEDS_BASE = frozenset(
    {"custom_openai", "openai_like", "hosted_vllm", "lm_studio", "llamafile", "xinference", "infinity", "litellm_proxy"}
)

LIKE_OPENAI = {
    "ollama": ("http://localhost:11434/v1", ""),
    "ollama_chat": ("http://localhost:11434/v1", ""),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "together_ai": ("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "perplexity": ("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "deepinfra": ("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "nvidia_nim": ("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "sambanova": ("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
}
"""Providers that copy OpenAI's API: their base URL, and the variable in which LiteLLM looks for their key, if any."""

ROOT_ONLY = frozenset({"ollama", "ollama_chat", "litellm_proxy"})
"""Providers whose `api_base` has no path, where their copy of OpenAI's API is under `/v1`."""

KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "litellm": "LITELLM_PROXY_API_KEY",
}
"""Where LiteLLM looks for a key that is not in the file."""

BASE_VARIABLES = {"azure": "AZURE_API_BASE", "litellm": "LITELLM_PROXY_API_BASE"}


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's name leads to.

    Attributes:
        provider: LiteLLM's name of the provider.
        kind: `openai`, `azure`, `anthropic`, `gemini`, `vertex` or `litellm`.
        model: without the prefix.
        endpoint: of a provider that copies OpenAI's API.
        key_variable: where its key is when the file has none.
        needs_base: whether only an `api_base` tells where it is.
    """

    provider: str
    kind: str
    model: str
    endpoint: str | None = None
    key_variable: str | None = None
    needs_base: bool = False


def destination_of(model: str, provider: str | None) -> Destination | str:
    """Return where `model` leads, or in words why nothing here speaks to it.

    Args:
        provider: `custom_llm_provider`, which takes the prefix's place.
    """
    prefix, slash, rest = model.partition("/")
    if provider is None and slash and (prefix in PREFIXES or prefix in LIKE_OPENAI):
        provider, model = prefix, rest
    elif provider is not None and slash and prefix == provider:
        model = rest
    elif provider is None:
        runtime = infer_runtime(model)
        if slash or runtime is None:
            return f"nothing here speaks to {prefix!r}" if slash else "no provider follows from the model's name"
        provider = "openai" if runtime == "litellm" else runtime
    if not model:
        return "it names no model"
    if provider in LIKE_OPENAI:
        endpoint, variable = LIKE_OPENAI[provider]
        return Destination(
            provider=provider, kind="openai", model=model, endpoint=endpoint, key_variable=variable or None
        )
    kind = PREFIXES.get(provider)
    if kind is None:
        return f"nothing here speaks to {provider!r}"
    if kind == "vertex" and not model.removeprefix("gemini/").startswith("gemini"):
        return "of Vertex AI only Gemini is spoken to"
    return Destination(
        provider=provider,
        kind=kind,
        model=model.removeprefix("gemini/") if kind == "vertex" else model,
        key_variable=KEY_VARIABLES.get(kind) if provider not in NEEDS_BASE or kind == "litellm" else None,
        needs_base=provider in NEEDS_BASE,
    )
