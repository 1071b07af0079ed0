"""A LiteLLM proxy's configuration, read and said again as a project file of Spillway."""

from spillway.cli.litellm_config.conversion import Converted, convert

__all__ = ["Converted", "convert"]
