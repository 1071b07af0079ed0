"""The openai runtime: its options. The runner is imported where one is made."""

from spillway.providers.openai.config import OpenAiConfig

__all__ = ["OpenAiConfig"]
