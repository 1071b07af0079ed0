"""Options of the OpenAI runtime, which also speaks to Azure and to whatever copies OpenAI's API."""

from __future__ import annotations

from typing import ClassVar, Literal

from spillway.core.options import RuntimeConfig

ENDPOINT = "https://api.openai.com/v1"
"""The provider's own base URL."""


class OpenAiConfig(RuntimeConfig, frozen=True, kw_only=True):
    """Where and as whom OpenAI's API is called.

    Attributes:
        endpoint: base URL with its `/v1`; for Azure the resource's root, without a path.
        organization: sent as `OpenAI-Organization`.
        project: sent as `OpenAI-Project`.
        variant: `openai`, or `azure` for Azure's URLs and `api-key` header.
        resource: Azure: the resource, from which the endpoint follows when none is given.
        deployment: Azure: the deployment in the path; default: the model.
        api_version: Azure: the dated API; None: the undated `/openai/v1`, where the deployment goes into the body.
        api: `chat` asks Chat Completions, `responses` the Responses API; requests and answers are the same.
        auth: Azure: what `api_key` is, the resource's key or, for `entra`, a token of Entra ID, sent as a bearer.
    """

    runtime: ClassVar[str] = "openai"

    organization: str | None = None
    project: str | None = None
    variant: Literal["openai", "azure"] = "openai"
    resource: str | None = None
    deployment: str | None = None
    api_version: str | None = None
    api: Literal["chat", "responses"] = "chat"
    auth: Literal["api_key", "entra"] = "api_key"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variant == "azure":
            if self.endpoint is None and not self.resource:
                raise ValueError('variant = "azure" needs a resource or an endpoint')
            return
        for name in ("resource", "deployment", "api_version"):
            if getattr(self, name) is not None:
                raise ValueError(f'{name} needs variant = "azure"')
        if self.auth != "api_key":
            raise ValueError('auth = "entra" needs variant = "azure"')
