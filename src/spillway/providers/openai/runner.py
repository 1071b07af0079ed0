"""OpenAI and Azure OpenAI: URLs, headers and the shared chat wire, put together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from urllib.parse import quote, urlsplit

from spillway.core.errors import InferenceError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import Deployment
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers import openai_chat
from spillway.providers.answers import Vectors
from spillway.providers.encoding import Losses, encode_body, unsupported
from spillway.providers.openai import errors
from spillway.providers.openai.config import ENDPOINT, OpenAiConfig
from spillway.providers.openai_limits import limits_seen
from spillway.providers.wire_runner import WireRunner
from spillway.remote.session import CredentialProvider


class OpenAiWire:
    """OpenAI's chat completions and embeddings, at OpenAI, at Azure, or at a server that copies them.

    Args:
        config: where and as whom.
        model: what is asked for; at Azure the deployment, unless the configuration names one.
    """

    def __init__(self, config: OpenAiConfig, model: str) -> None:
        self._config = config
        self._azure = config.variant == "azure"
        self.kind = "azure" if self._azure else "openai"
        self.id_headers = ("apim-request-id", "x-request-id") if self._azure else ("x-request-id",)
        if self._azure:
            self._model = config.deployment or model
            root, query = _azure_root(config, self._model)
        else:
            self._model = model
            root, query = (config.endpoint or ENDPOINT).rstrip("/"), ""
        self._chat_url = f"{root}/chat/completions{query}"
        self._embeddings_url = f"{root}/embeddings{query}"
        host = urlsplit(root).hostname or ""
        known = self._azure or host == "api.openai.com" or host.endswith(".api.openai.com")
        self._max_tokens_field = "max_completion_tokens" if known else "max_tokens"
        self._refuse = partial(errors.in_answer, self.kind)

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return the credential and what says whose it is."""
        headers = {"content-type": "application/json"}
        if self._azure:
            headers["api-key"] = secret.reveal()
        else:
            headers["authorization"] = f"Bearer {secret.reveal()}"
        if self._config.organization:
            headers["openai-organization"] = self._config.organization
        if self._config.project:
            headers["openai-project"] = self._config.project
        return headers

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body."""
        del losses
        if request.counts:
            raise unsupported("counts", self.kind, "tokens can't be counted there")
        if request.inputs is not None:
            return self._embeddings_url, openai_chat.encode_embeddings(request, model=self._model, runtime=self.kind)
        body = openai_chat.encode_chat(
            request,
            model=self._model,
            runtime=self.kind,
            stream=stream,
            max_tokens_field=self._max_tokens_field,
        )
        return self._chat_url, encode_body(body)

    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole completion's chunks, and its id."""
        return openai_chat.decode_chat(body, self._refuse)

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Return the vectors of an embeddings answer."""
        return openai_chat.decode_embeddings(body, self._refuse, wanted)

    def decode_count(self, body: bytes) -> int:
        """Refuse: it is not asked for."""
        del body
        raise unsupported("counts", self.kind, "tokens can't be counted there")

    def open_stream(self) -> openai_chat.ChatStream:
        """Return the state of a new stream."""
        return openai_chat.ChatStream(self._refuse)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
        """Return what a refusal means."""
        return errors.refusal(self.kind, status, headers, body)

    def limits(self, headers: Mapping[str, str]) -> LimitsSeen | None:
        """Return what the `x-ratelimit-*` headers say."""
        return limits_seen(headers)


def _azure_root(config: OpenAiConfig, deployment: str) -> tuple[str, str]:
    """Return what precedes `/chat/completions`, and the query."""
    base = (config.endpoint or f"https://{config.resource}.openai.azure.com").rstrip("/")
    if config.api_version is None:
        return f"{base}/openai/v1", ""
    version = quote(config.api_version, safe="")
    return f"{base}/openai/deployments/{quote(deployment, safe='')}", f"?api-version={version}"


def make(deployment: Deployment, config: OpenAiConfig, credentials: CredentialProvider) -> WireRunner:
    """Return the runner of one deployment."""
    return WireRunner(deployment, OpenAiWire(config, deployment.provider_model), credentials)
