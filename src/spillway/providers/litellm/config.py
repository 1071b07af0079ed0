"""Options of the LiteLLM runtime: a LiteLLM proxy, spoken to in OpenAI's shape."""

from __future__ import annotations

from typing import ClassVar

import msgspec

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
        given: object = self.tags
        if isinstance(given, str):
            raise ValueError(f"tags must be a list of names, not the text {given!r}")  # noqa: TRY004 - one error class for options
        msgspec.structs.force_setattr(self, "tags", tuple(self.tags))
        if any("," in tag for tag in self.tags):
            raise ValueError("a tag can't hold a comma")
