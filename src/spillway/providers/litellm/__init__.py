"""The litellm runtime: its options. The runner is imported where one is made."""

from spillway.providers.litellm.config import LiteLlmConfig

__all__ = ["LiteLlmConfig"]
