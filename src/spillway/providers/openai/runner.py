"""OpenAI and Azure OpenAI: URLs, headers and the wires of their APIs, put together."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from spillway.core.errors import InferenceError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import Deployment
from spillway.core.ports import ExecuteBatch
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import OPENAI_CHAT, OPENAI_RESPONSES, GenerateRequest, NativeBody
from spillway.core.secrets import Secret
from spillway.providers import openai_chat
from spillway.providers.answers import StreamWire, Vectors
from spillway.providers.counting import decode_count
from spillway.providers.encoding import Losses, encode_body, unsupported
from spillway.providers.native import native_fields, native_of
from spillway.providers.openai import errors, responses
from spillway.providers.openai.config import OpenAiConfig
from spillway.providers.openai.places import places
from spillway.providers.openai_limits import limits_seen
from spillway.providers.wire_runner import WireRunner
from spillway.remote.session import CredentialProvider

_MOST_ID = 512


class OpenAiWire:
    """OpenAI's APIs for answers, vectors and counts, at OpenAI, at Azure, or at a server that copies them.

    Args:
        config: where and as whom, and which of the two APIs for answers.
        model: what is asked for; at Azure the deployment, unless the configuration names one.
    """

    most_inputs = 2_048

    def __init__(self, config: OpenAiConfig, model: str) -> None:
        self._config = config
        self._azure = config.variant == "azure"
        self._responses = config.api == "responses"
        self.kind = "azure" if self._azure else "openai"
        self.id_headers = ("apim-request-id", "x-request-id") if self._azure else ("x-request-id",)
        self._places = places(config, model)
        self._max_tokens_field = "max_completion_tokens" if self._places.own else "max_tokens"
        self._refuse = partial(errors.in_answer, self.kind)
        self._failed = partial(errors.of_response, self.kind)

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return the credential and what says whose it is."""
        headers = {"content-type": "application/json"}
        if self._azure and self._config.auth == "api_key":
            headers["api-key"] = secret.reveal()
        else:
            headers["authorization"] = f"Bearer {secret.reveal()}"
        if self._config.organization:
            headers["openai-organization"] = self._config.organization
        if self._config.project:
            headers["openai-project"] = self._config.project
        return headers

    def attempt_headers(self, batch: ExecuteBatch) -> Mapping[str, str]:
        """Return what is the same over all attempts of a request, and which of them this one is."""
        headers = {"x-spillway-attempt": str(batch.attempt)}
        name = batch.request.idempotency_id
        if name and name.isascii() and name.isprintable() and len(name) <= _MOST_ID:
            headers["idempotency-key"] = headers["x-client-request-id"] = name
        return headers

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body."""
        where = self._places
        if request.inputs is not None:
            body = openai_chat.encode_embeddings(request, model=where.model, runtime=self.kind, encoding="base64")
            return where.embeddings, body
        if request.counts:
            if self._azure:
                raise unsupported("counts", self.kind, "Azure has no endpoint that counts tokens")
            return where.input_tokens, encode_body(responses.encode_count(request, losses, model=where.model))
        native = self.native(request)
        if native is not None and self._responses:
            asked = {"model": where.model, **native_fields(native)}
            if stream:
                asked["stream"] = True
            return where.responses, encode_body(asked)
        if native is not None:
            asked = openai_chat.encode_native(
                native,
                request,
                model=where.model,
                stream=stream,
                max_tokens_field=self._max_tokens_field,
                strict_history=losses if where.own else None,
            )
            return where.chat, encode_body(asked)
        if self._responses:
            asked = responses.encode_response(request, losses, model=where.model, stream=stream)
            return where.responses, encode_body(asked)
        asked = openai_chat.encode_chat(
            request,
            model=where.model,
            runtime=self.kind,
            stream=stream,
            max_tokens_field=self._max_tokens_field,
            strict_history=losses if where.own else None,
        )
        return where.chat, encode_body(asked)

    def native(self, request: GenerateRequest) -> NativeBody | None:
        """Return the body of a request that is in the words of the API that is asked for answers."""
        return None if request.counts else native_of(request, OPENAI_RESPONSES if self._responses else OPENAI_CHAT)

    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole answer's chunks, and its id."""
        if self._responses:
            return responses.decode_response(body, self._refuse, self._failed)
        return openai_chat.decode_chat(body, self._refuse)

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Return the vectors of an embeddings answer."""
        return openai_chat.decode_embeddings(body, self._refuse, wanted)

    def decode_count(self, body: bytes) -> int:
        """Return the tokens that a `response.input_tokens` tells."""
        return decode_count(body, self._refuse)

    def open_stream(self) -> StreamWire:
        """Return the state of a new stream."""
        if self._responses:
            return responses.ResponseStream(self._refuse, self._failed)
        return openai_chat.ChatStream(self._refuse)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
        """Return what a refusal means."""
        return errors.refusal(self.kind, status, headers, body)

    def limits(self, headers: Mapping[str, str]) -> LimitsSeen | None:
        """Return what the `x-ratelimit-*` headers say."""
        return limits_seen(headers)


def make(deployment: Deployment, config: OpenAiConfig, credentials: CredentialProvider) -> WireRunner:
    """Return the runner of one deployment."""
    return WireRunner(deployment, OpenAiWire(config, deployment.provider_model), credentials)
