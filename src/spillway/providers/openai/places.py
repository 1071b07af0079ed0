"""The URLs of OpenAI's APIs, at OpenAI, at Azure in both of its shapes, and at servers that copy them."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import msgspec

from spillway.providers.openai.config import ENDPOINT, OpenAiConfig


class Places(msgspec.Struct, frozen=True):
    """Where a deployment is asked what.

    Attributes:
        model: what a body names; at Azure the deployment.
        own: whether it is OpenAI or Azure itself, not a copy of their API.
    """

    model: str
    chat: str
    embeddings: str
    responses: str
    input_tokens: str
    own: bool


def places(config: OpenAiConfig, model: str) -> Places:
    """Return the URLs of a configuration; `model` is Azure's deployment unless that is configured."""
    if config.variant == "azure":
        return _azure(config, config.deployment or model)
    root = (config.endpoint or ENDPOINT).rstrip("/")
    host = urlsplit(root).hostname or ""
    own = host == "api.openai.com" or host.endswith(".api.openai.com")
    return _under(root, root, "", model, own=own)


def _azure(config: OpenAiConfig, deployment: str) -> Places:
    """Return Azure's URLs; of the dated API only some have the deployment in their path."""
    base = (config.endpoint or f"https://{config.resource}.openai.azure.com").rstrip("/")
    if config.api_version is None:
        root = f"{base}/openai/v1"
        return _under(root, root, "", deployment, own=True)
    query = f"?api-version={quote(config.api_version, safe='')}"
    root = f"{base}/openai"
    return _under(f"{root}/deployments/{quote(deployment, safe='')}", root, query, deployment, own=True)


def _under(deployed: str, root: str, query: str, model: str, *, own: bool) -> Places:
    return Places(
        model=model,
        chat=f"{deployed}/chat/completions{query}",
        embeddings=f"{deployed}/embeddings{query}",
        responses=f"{root}/responses{query}",
        input_tokens=f"{root}/responses/input_tokens{query}",
        own=own,
    )
