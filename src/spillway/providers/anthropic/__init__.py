"""The anthropic runtime: its options. The runner is imported where one is made."""

from spillway.providers.anthropic.config import AnthropicConfig

__all__ = ["AnthropicConfig"]
