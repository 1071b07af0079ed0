"""Gemini on AI Studio and on Vertex: URLs, headers and wire, put together."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from spillway.core.errors import ConfigError, InferenceError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import Deployment
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import GenerateRequest
from spillway.core.secrets import Secret
from spillway.providers.answers import Vectors
from spillway.providers.encoding import Losses, encode_body, unsupported
from spillway.providers.gemini import errors
from spillway.providers.gemini.body import encode_contents
from spillway.providers.gemini.config import ENDPOINT, GeminiConfig
from spillway.providers.gemini.embeddings import decode_embeddings, encode_embeddings
from spillway.providers.gemini.wire import ResponseStream, decode_response
from spillway.providers.wire_runner import WireRunner
from spillway.remote.session import CredentialProvider


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
        self._embed_url = f"{root}:{'predict' if self._vertex else 'batchEmbedContents'}"

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return the credential: an access token for a project on Vertex, else an API key."""
        if self._vertex and self._config.project:
            return {"content-type": "application/json", "authorization": f"Bearer {secret.reveal()}"}
        return {"content-type": "application/json", "x-goog-api-key": secret.reveal()}

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body."""
        if request.counts:
            raise unsupported("counts", self.kind, "tokens can't be counted there")
        if request.inputs is not None:
            return self._embed_url, encode_embeddings(request, model=self._model, vertex=self._vertex)
        body = encode_contents(request, losses, model=self._model, vertex=self._vertex, safety=self._config.safety)
        return self._stream_url if stream else self._unary_url, encode_body(body)

    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole response's chunks, and its id."""
        return decode_response(body, errors.in_answer)

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Return the vectors of an embeddings answer."""
        return decode_embeddings(body, errors.in_answer, wanted)

    def decode_count(self, body: bytes) -> int:
        """Refuse: it is not asked for."""
        del body
        raise unsupported("counts", self.kind, "tokens can't be counted there")

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


def make(deployment: Deployment, config: GeminiConfig, credentials: CredentialProvider) -> WireRunner:
    """Return the runner of one deployment.

    Raises:
        ConfigError: a service account's key file was given, which needs the extra `vertex`.
    """
    if config.credentials is not None:
        raise ConfigError(
            f"deployment {deployment.name!r}: runtime_config.credentials needs the extra vertex, which this version "
            "does not have; give an access token as api_key"
        )
    return WireRunner(deployment, GeminiWire(config, deployment.provider_model), credentials)
