"""Which runtime serves a deployment, and how its runner is made. Nothing of a provider is imported before that.

A third party adds a runtime with an entry point of the group `spillway.runtimes`: its name is the runtime's, its object
a `factory(deployment, *, environ) -> ModelRunner`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment, RuntimeConfig
from spillway.core.ports import ModelRunner
from spillway.core.secrets import Secret, SecretRef
from spillway.remote.session import CredentialProvider, credential_provider

ENTRY_POINTS = "spillway.runtimes"
"""The group of entry points that third parties' runtimes are found by."""

_CONFIGS = {
    "openai": "OpenAiConfig",
    "anthropic": "AnthropicConfig",
    "gemini": "GeminiConfig",
    "litellm": "LiteLlmConfig",
}
RUNTIMES = tuple(_CONFIGS)
"""The runtimes that come with the package."""

_PREFIXES = (
    ("litellm/", "litellm"),
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("claude-", "anthropic"),
    ("gemini-", "gemini"),
    ("models/gemini-", "gemini"),
)
_KEYS: dict[str, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY",),
    "azure-entra": ("AZURE_OPENAI_AD_TOKEN",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "litellm": ("LITELLM_API_KEY",),
}


def infer_runtime(model: str) -> str | None:
    """Return the runtime that a model's name tells of, None when it tells of none."""
    return next((runtime for prefix, runtime in _PREFIXES if model.startswith(prefix)), None)


def runtime_of(deployment: Deployment) -> str:
    """Return the runtime of a deployment: the one it names, else its options', else its model's.

    Raises:
        ConfigError: it names none that is known, or none can be told; the message names the nearest.
    """
    runtime = deployment.runtime or getattr(deployment.runtime_config, "runtime", None)
    if runtime is None:
        runtime = infer_runtime(deployment.provider_model)
        if runtime is None:
            raise ConfigError(
                f"deployment {deployment.name!r}: no runtime follows from the model {deployment.provider_model!r}; "
                f"set runtime to one of {', '.join(known_runtimes())}"
            )
    if runtime not in _CONFIGS and runtime not in _third_parties():
        known = known_runtimes()
        near = difflib.get_close_matches(runtime, known, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"deployment {deployment.name!r}: unknown runtime {runtime!r} (nearest: {near!r}); "
            f"known: {', '.join(known)}"
        )
    return str(runtime)


def known_runtimes() -> tuple[str, ...]:
    """Return the names of all runtimes, the package's own first."""
    return (*RUNTIMES, *sorted(_third_parties().keys() - _CONFIGS.keys()))


def config_class(runtime: str) -> type[RuntimeConfig]:
    """Return the options of a runtime; those that all have in common for a third party's."""
    name = _CONFIGS.get(runtime)
    if name is None:
        return RuntimeConfig
    found: type[RuntimeConfig] = getattr(importlib.import_module(f"spillway.providers.{runtime}"), name)
    return found


def key_variables(runtime: str, config: RuntimeConfig | None = None) -> tuple[str, ...]:
    """Return the environment variables that a runtime's key is looked for in when none is configured."""
    if config is not None and _default_credentials(config) is not None:
        return ()
    variant = runtime
    if getattr(config, "variant", None) == "azure":
        variant = "azure-entra" if getattr(config, "auth", None) == "entra" else "azure"
    return _KEYS.get(variant, ())


def make_runner(deployment: Deployment, *, environ: Mapping[str, str], key: int = 0) -> ModelRunner:
    """Return the runner of a deployment; it connects to nothing yet.

    Args:
        deployment: whose runtime, options and model apply.
        environ: where keys and `from_env` secrets are looked up.
        key: which entry of a key pool it uses.

    Raises:
        ConfigError: there is no such runtime, its options do not fit, or a secret is missing; one line.
    """
    runtime = runtime_of(deployment)
    if runtime not in _CONFIGS:
        made: ModelRunner = _third_parties()[runtime].load()(deployment, environ=environ)
        return made
    config = _config(deployment, runtime)
    credentials = _credentials(deployment, runtime, config, environ, key)
    module = importlib.import_module(f"spillway.providers.{runtime}.runner")
    runner: ModelRunner = module.make(deployment, config, credentials)
    return runner


def _config(deployment: Deployment, runtime: str) -> RuntimeConfig:
    wanted = config_class(runtime)
    given = deployment.runtime_config
    if given is None:
        return wanted()
    if isinstance(given, wanted):
        return given
    if type(given) is RuntimeConfig:
        return wanted(endpoint=given.endpoint, api_key=given.api_key)
    raise ConfigError(
        f"deployment {deployment.name!r}: runtime {runtime!r} takes {wanted.__name__}, not {type(given).__name__}"
    )


def _credentials(
    deployment: Deployment, runtime: str, config: RuntimeConfig, environ: Mapping[str, str], key: int
) -> CredentialProvider:
    given = config.api_key
    if given is None:
        given = getattr(config, "credentials", None)
    if isinstance(given, tuple):
        if not 0 <= key < len(given):
            raise ConfigError(f"deployment {deployment.name!r}: api_key has {len(given)} entries, no number {key}")
        given = given[key]
    own = _default_credentials(config)
    if given is None and own is not None:
        return own(environ)
    if given is None:
        names = key_variables(runtime, config)
        found = next((name for name in names if environ.get(name)), None)
        if found is None:
            raise ConfigError(
                f"deployment {deployment.name!r}: no API key: set {' or '.join(names)}, or runtime_config.api_key"
            )
        given = SecretRef(from_env=found)
    if isinstance(given, SecretRef) and given.from_env is not None and not environ.get(given.from_env):
        raise ConfigError(f"deployment {deployment.name!r}: {given.place} is not set")
    if isinstance(given, Secret) and not given:
        raise ConfigError(f"deployment {deployment.name!r}: the API key is empty")
    return credential_provider(given, environ)


def _default_credentials(config: RuntimeConfig) -> Callable[[Mapping[str, str]], CredentialProvider] | None:
    """Return what makes the credentials of a runtime that has some without any being configured."""
    found: Callable[[Mapping[str, str]], CredentialProvider] | None = getattr(config, "default_credentials", None)
    return found


def _third_parties() -> Mapping[str, Any]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
