"""A LiteLLM proxy: URLs, headers and the shared chat wire, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from spillway.core.errors import InferenceError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import Deployment
from spillway.core.ports import ExecuteBatch
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import OPENAI_CHAT, GenerateRequest, NativeBody
from spillway.core.secrets import Secret
from spillway.providers import openai_chat
from spillway.providers.answers import Vectors
from spillway.providers.encoding import Losses, encode_body, unsupported
from spillway.providers.litellm import errors
from spillway.providers.litellm.config import ENDPOINT, LiteLlmConfig
from spillway.providers.litellm.errors import RUNTIME
from spillway.providers.native import native_of
from spillway.providers.openai_limits import limits_seen
from spillway.providers.wire_runner import WireRunner
from spillway.remote.session import CredentialProvider

_COST = "x-litellm-response-cost"
_LONGEST_COST = 64
_NOTHING: Mapping[str, str] = {}


class LiteLlmWire:
    """A LiteLLM proxy's OpenAI-shaped routes.

    Args:
        config: where, and with which tags.
        model: what is asked for; a `litellm/` before it is left out.

    Attributes:
        alive_url: answers without a key as long as the proxy runs.
    """

    kind = RUNTIME
    id_headers = ("x-litellm-call-id", "x-request-id")

    def __init__(self, config: LiteLlmConfig, model: str) -> None:
        self._config = config
        self._model = model.removeprefix("litellm/")
        root = (config.endpoint or ENDPOINT).rstrip("/")
        self._chat_url = f"{root}/chat/completions"
        self._embeddings_url = f"{root}/embeddings"
        self.alive_url = f"{root.removesuffix('/v1')}/health/liveliness"

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return the virtual key and the tags."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {secret.reveal()}"}
        if self._config.tags:
            headers["x-litellm-tags"] = ",".join(self._config.tags)
        return headers

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body."""
        del losses
        if request.counts:
            raise unsupported("counts", self.kind, "tokens can't be counted there")
        if request.inputs is not None:
            return self._embeddings_url, openai_chat.encode_embeddings(request, model=self._model, runtime=RUNTIME)
        native = self.native(request)
        if native is not None:
            body = openai_chat.encode_native(
                native, request, model=self._model, stream=stream, max_tokens_field="max_tokens"
            )
        else:
            body = openai_chat.encode_chat(
                request, model=self._model, runtime=RUNTIME, stream=stream, max_tokens_field="max_tokens"
            )
        return self._chat_url, encode_body(body)

    def native(self, request: GenerateRequest) -> NativeBody | None:
        """Return the body of a request that is in the words of the API that is asked."""
        return None if request.counts else native_of(request, OPENAI_CHAT)

    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole completion's chunks, and its id."""
        return openai_chat.decode_chat(body, errors.in_answer)

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Return the vectors of an embeddings answer."""
        return openai_chat.decode_embeddings(body, errors.in_answer, wanted)

    def decode_count(self, body: bytes) -> int:
        """Refuse: it is not asked for."""
        del body
        raise unsupported("counts", self.kind, "tokens can't be counted there")

    def open_stream(self) -> openai_chat.ChatStream:
        """Return the state of a new stream."""
        return openai_chat.ChatStream(errors.in_answer)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
        """Return what a refusal means."""
        return errors.refusal(status, headers, body)

    def about(self, headers: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return what the proxy says that a whole answer cost, in USD as it wrote it; None when it does not say."""
        cost = headers.get(_COST, "").strip()
        return {"response_cost": cost} if cost and len(cost) <= _LONGEST_COST else None

    def attempt_headers(self, batch: ExecuteBatch) -> Mapping[str, str]:
        """Return how long the proxy may take where the caller said how long everything may.

        Without a word of the caller the proxy's own timeouts hold: a longer one from here would replace them.
        """
        if batch.request.timeout_s is None:
            return _NOTHING
        left = batch.deadline - asyncio.get_running_loop().time()
        return {"x-litellm-timeout": f"{max(left, 0.001):.3f}"}

    def limits(self, headers: Mapping[str, str]) -> LimitsSeen | None:
        """Return what the `x-ratelimit-*` headers say."""
        return limits_seen(headers)


def make(deployment: Deployment, config: LiteLlmConfig, credentials: CredentialProvider) -> WireRunner:
    """Return the runner of one deployment."""
    return WireRunner(deployment, LiteLlmWire(config, deployment.provider_model), credentials)
