"""Options of the Anthropic runtime."""

from __future__ import annotations

from typing import ClassVar

from spillway.core.options import RuntimeConfig

ENDPOINT = "https://api.anthropic.com"
"""The provider's own base URL."""

SAMPLING_VERSION = "2023-06-01"
"""The version of the API that still takes `temperature` and `top_p`."""


class AnthropicConfig(RuntimeConfig, frozen=True, kw_only=True):
    """Where and how Anthropic's API is called.

    Attributes:
        endpoint: base URL without a path.
        anthropic_version: the dated API; only `2023-06-01` takes `temperature` and `top_p`.
        beta: names of beta features, sent as `anthropic-beta`; a request adds its own in `extra_headers`.
        default_max_tokens: `max_tokens` of a request that names none, since the API requires it.
    """

    runtime: ClassVar[str] = "anthropic"

    anthropic_version: str = "2026-10-21"
    beta: tuple[str, ...] = ()
    default_max_tokens: int = 4096

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.anthropic_version:
            raise ValueError("anthropic_version must not be empty")
        if self.default_max_tokens < 1:
            raise ValueError("default_max_tokens must be at least 1")
