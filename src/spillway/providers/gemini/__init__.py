"""The gemini runtime: its options. The runner is imported where one is made."""

from spillway.providers.gemini.config import GeminiConfig, SafetySetting

__all__ = ["GeminiConfig", "SafetySetting"]
