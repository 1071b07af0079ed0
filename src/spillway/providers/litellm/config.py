"""Options of the LiteLLM runtime: a LiteLLM proxy, spoken to in OpenAI's shape."""

from __future__ import annotations

from typing import ClassVar

from spillway.core.options import RuntimeConfig

ENDPOINT = "http://127.0.0.1:4000/v1"
"""Where a proxy listens unless told otherwise."""


class LiteLlmConfig(RuntimeConfig, frozen=True, kw_only=True):
    """Where and as whom a LiteLLM proxy is called.

    Attributes:
        endpoint: base URL with its `/v1`.
        tags: sent as `x-litellm-tags`, by which the proxy routes and books.
    """

    runtime: ClassVar[str] = "litellm"

    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if any("," in tag for tag in self.tags):
            raise ValueError("a tag can't hold a comma")
