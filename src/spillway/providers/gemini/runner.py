"""Gemini on AI Studio and on Vertex: URLs, headers and wire, put together."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from spillway.core.errors import InferenceError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import Deployment
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.answers import Vectors
from spillway.providers.counting import decode_count
from spillway.providers.encoding import Losses, encode_body
from spillway.providers.gemini import errors
from spillway.providers.gemini.body import counted_body, encode_contents
from spillway.providers.gemini.config import ENDPOINT, GeminiConfig
from spillway.providers.gemini.contents import Target
from spillway.providers.gemini.embeddings import decode_embeddings, encode_embeddings
from spillway.providers.gemini.token_exchange import TokenExchange
from spillway.providers.gemini.wire import ResponseStream, decode_response
from spillway.providers.takes import Takes
from spillway.providers.wire_runner import USER_AGENT, WireRunner
from spillway.remote.http import build_client, layer
from spillway.remote.session import CredentialProvider

_MOST_INPUTS = 100
_MOST_INPUTS_VERTEX = 250


class GeminiWire:
    """Gemini's generateContent.

    Args:
        config: where and as whom.
        model: what is asked for, with or without `models/` before it.
    """

    kind = "gemini"
    id_headers = ("x-goog-request-id", "x-cloud-trace-context")

    def __init__(self, config: GeminiConfig, model: str) -> None:
        self._config = config
        self._model = model.removeprefix("models/")
        self._vertex = config.variant == "vertex"
        if self._vertex:
            base = (config.endpoint or config.vertex_host).rstrip("/")
            where = ""
            if config.project:
                where = f"projects/{quote(config.project, safe='')}/locations/{config.region or 'global'}/"
            root = f"{base}/v1/{where}publishers/google/models/{quote(self._model, safe='')}"
        else:
            base = (config.endpoint or ENDPOINT).rstrip("/")
            root = f"{base}/v1beta/models/{quote(self._model, safe='')}"
        self._unary_url = f"{root}:generateContent"
        self._stream_url = f"{root}:streamGenerateContent?alt=sse"
        files = "" if self._vertex else f"{base}/v1beta"
        self._target = Target(self._model, vertex=self._vertex, files=files, safety=config.safety)
        self.takes = Takes(
            failures=True,
            media=not self._target.old,
            text_files=True,
            fields=frozenset({"top_k"}),
            thoughts={"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
        )
        self._count_url = f"{root}:countTokens"
        self._embed_url = f"{root}:{'predict' if self._vertex else 'batchEmbedContents'}"

    @property
    def most_inputs(self) -> int:
        """Texts that one embeddings request may carry; Vertex takes a single one for the `gemini-embedding` models."""
        if not self._vertex:
            return _MOST_INPUTS
        return 1 if self._model.startswith("gemini-embedding") else _MOST_INPUTS_VERTEX

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return the credential: an access token for a project on Vertex, else an API key."""
        if self._vertex and self._config.project:
            headers = {"content-type": "application/json", "authorization": f"Bearer {secret.reveal()}"}
            quota_project = self._config.quota_project or getattr(secret, "quota_project", None)
            if quota_project:
                headers["x-goog-user-project"] = quota_project
            return headers
        return {"content-type": "application/json", "x-goog-api-key": secret.reveal()}

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body."""
        if request.inputs is not None:
            return self._embed_url, encode_embeddings(request, losses, model=self._model, vertex=self._vertex)
        body = encode_contents(request, losses, self._target)
        if request.counts:
            return self._count_url, encode_body(counted_body(body, self._target))
        return self._stream_url if stream else self._unary_url, encode_body(body)

    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole response's chunks, and its id."""
        return decode_response(body, errors.in_answer)

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Return the vectors of an embeddings answer."""
        return decode_embeddings(body, errors.in_answer, wanted)

    def decode_count(self, body: bytes) -> int:
        """Return what `:countTokens` counted."""
        return decode_count(body, errors.in_answer)

    def open_stream(self) -> ResponseStream:
        """Return the state of a new stream."""
        return ResponseStream(errors.in_answer)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
        """Return what a refusal means."""
        return errors.refusal(status, headers, body)

    def limits(self, headers: Mapping[str, str]) -> LimitsSeen | None:
        """Return None: neither AI Studio nor Vertex says."""
        del headers
        return None


class GeminiRunner(WireRunner):
    """The runner, and how many texts it embeds at once."""

    def __init__(self, deployment: Deployment, wire: GeminiWire, credentials: CredentialProvider) -> None:
        super().__init__(deployment, wire, credentials)
        self.most_inputs = wire.most_inputs


def make(deployment: Deployment, config: GeminiConfig, credentials: CredentialProvider) -> WireRunner:
    """Return the runner of one deployment.

    Raises:
        ConfigError: a service account's key file was given, and the extra `vertex` is not installed.
    """
    if config.variant == "vertex":
        credentials = _access(deployment, config, credentials)
    return GeminiRunner(deployment, GeminiWire(config, deployment.provider_model), credentials)


def _access(deployment: Deployment, config: GeminiConfig, credentials: CredentialProvider) -> CredentialProvider:
    """Return what yields access tokens, where what is configured is not one itself."""
    if layer.offline() or (config.credentials is None and config.default_credentials is None):
        return credentials
    from spillway.providers.gemini.google_credentials import (  # noqa: PLC0415 # only where used
        ApplicationDefault,
        GoogleCredential,
        check_extra,
    )

    exchange = TokenExchange(lambda: build_client(deployment.timeouts, USER_AGENT, http=deployment.http))
    if isinstance(credentials, ApplicationDefault):
        return credentials.over(exchange)
    check_extra(f"deployment {deployment.name!r}: runtime_config.credentials")
    return GoogleCredential(credentials, exchange)
