"""Anthropic: URL, headers and wire, put together."""

from __future__ import annotations

from collections.abc import Mapping

from spillway.core.clock import WallClock, wall_now
from spillway.core.errors import InferenceError
from spillway.core.limits_seen import LimitsSeen
from spillway.core.options import Deployment
from spillway.core.reply import TokenChunk, Usage
from spillway.core.request import ANTHROPIC, GenerateRequest, NativeBody
from spillway.core.secrets import Secret
from spillway.providers.answers import Vectors
from spillway.providers.anthropic import errors
from spillway.providers.anthropic.blocks import RUNTIME
from spillway.providers.anthropic.body import encode_messages
from spillway.providers.anthropic.config import ENDPOINT, AnthropicConfig
from spillway.providers.anthropic.limits import limits_seen
from spillway.providers.anthropic.stream import MessageStream
from spillway.providers.anthropic.wire import decode_message
from spillway.providers.counting import decode_count
from spillway.providers.encoding import Losses, encode_body, merged_headers, unsupported
from spillway.providers.native import native_fields, native_of
from spillway.providers.wire_runner import WireRunner
from spillway.remote.session import CredentialProvider

_NOT_COUNTED = frozenset({
    "container",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "max_tokens",
    "metadata",
    "service_tier",
    "stop_sequences",
    "stream",
    "temperature",
    "thread",
    "top_k",
    "top_p",
})  # fmt: skip
"""Fields of a message request that the token counting endpoint does not take: they change no count."""


class AnthropicWire:
    """Anthropic's Messages API.

    Args:
        config: where, and which version of the API.
        model: what is asked for.
        wall: wall time, against which the headers' resets are read.
    """

    kind = RUNTIME
    id_headers = ("request-id", "x-request-id")

    def __init__(self, config: AnthropicConfig, model: str, *, wall: WallClock = wall_now) -> None:
        self._config = config
        self._model = model
        self._wall = wall
        self._url = f"{(config.endpoint or ENDPOINT).rstrip('/')}/v1/messages"

    def headers(self, secret: Secret) -> Mapping[str, str]:
        """Return the credential, the version and the beta features."""
        headers = {
            "content-type": "application/json",
            "x-api-key": secret.reveal(),
            "anthropic-version": self._config.anthropic_version,
        }
        if self._config.beta:
            headers["anthropic-beta"] = ",".join(self._config.beta)
        return headers

    def encode(self, request: GenerateRequest, losses: Losses, *, stream: bool) -> tuple[str, bytes]:
        """Return URL and body."""
        if request.inputs is not None:
            raise unsupported("inputs", RUNTIME, "the API has no embeddings")
        native = self.native(request)
        if native is not None:
            body = {"model": self._model, "max_tokens": self._config.default_max_tokens, **native_fields(native)}
            if stream:
                body["stream"] = True
        else:
            body = encode_messages(request, losses, model=self._model, stream=stream, config=self._config)
        if request.counts:
            for name in _NOT_COUNTED & body.keys():
                del body[name]
            return f"{self._url}/count_tokens", encode_body(body)
        return self._url, encode_body(body)

    def native(self, request: GenerateRequest) -> NativeBody | None:
        """Return the body of a request that is in the words of this API."""
        return native_of(request, ANTHROPIC)

    def native_headers(self, headers: Mapping[str, str], native: NativeBody) -> Mapping[str, str]:
        """Return the session's headers with the caller's `anthropic-*`: its version holds, its betas are added.

        Raises:
            BadRequest: one of them is no header's value.
        """
        given = {name: value for name, value in native.headers.items() if name.startswith("anthropic-")}
        version = given.pop("anthropic-version", "")
        merged = merged_headers(headers, given, RUNTIME, kind=dict)
        return {**merged, "anthropic-version": version} if version else merged

    def decode(self, body: bytes) -> tuple[list[TokenChunk], str]:
        """Return a whole message's chunks, and its id."""
        return decode_message(body, errors.in_answer)

    def decode_vectors(self, body: bytes, wanted: int) -> tuple[Vectors, Usage | None]:
        """Refuse: there are none."""
        del body, wanted
        raise unsupported("inputs", RUNTIME, "the API has no embeddings")

    def decode_count(self, body: bytes) -> int:
        """Return what the token counting endpoint counted."""
        return decode_count(body, errors.in_answer)

    def open_stream(self) -> MessageStream:
        """Return the state of a new stream."""
        return MessageStream(errors.in_answer)

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> InferenceError:
        """Return what a refusal means."""
        return errors.refusal(status, headers, body)

    def limits(self, headers: Mapping[str, str]) -> LimitsSeen | None:
        """Return what the `anthropic-ratelimit-*` headers say."""
        return limits_seen(headers, self._wall)


def make(deployment: Deployment, config: AnthropicConfig, credentials: CredentialProvider) -> WireRunner:
    """Return the runner of one deployment."""
    return WireRunner(deployment, AnthropicWire(config, deployment.provider_model), credentials)
