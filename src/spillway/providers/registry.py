"""Which runtime serves a deployment, and how its runner is made. Nothing of a provider is imported before that.

A third party adds a runtime with an entry point of the group `spillway.runtimes`: its name is the runtime's, its object
a `factory(deployment, *, environ) -> ModelRunner`, such as a `spillway.providers.WireRuntime`. It may have a `config`,
a subclass of `RuntimeConfig` whose fields are the keys of its `runtime_config`, and `key_variables`, the names of
environment variables. The deployment that it gets has a `runtime_config` of that class, and one key out of a pool.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import msgspec

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment, RuntimeConfig
from spillway.core.ports import ModelRunner

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
    """Return the options of a runtime; a third party's own if it has some, else those that all have in common.

    Raises:
        ConfigError: a third party's runtime can't be loaded, or its options are no `RuntimeConfig`.
    """
    name = _CONFIGS.get(runtime)
    if name is not None:
        found: type[RuntimeConfig] = getattr(importlib.import_module(f"spillway.providers.{runtime}"), name)
        return found
    if runtime not in _third_parties():
        return RuntimeConfig
    own = getattr(_load(runtime), "config", None) or RuntimeConfig
    if not (isinstance(own, type) and issubclass(own, RuntimeConfig)):
        raise ConfigError(f"runtime {runtime!r}: its config is no subclass of spillway.RuntimeConfig")
    return own


def key_variables(runtime: str, config: RuntimeConfig | None = None) -> tuple[str, ...]:
    """Return the environment variables that a runtime's key is looked for in when none is configured."""
    if runtime not in _CONFIGS and runtime in _third_parties():
        return tuple(getattr(_load(runtime), "key_variables", ()))
    if config is not None and getattr(config, "default_credentials", None) is not None:
        return ()
    variant = runtime
    if getattr(config, "variant", None) == "azure":
        variant = "azure-entra" if getattr(config, "auth", None) == "entra" else "azure"
    return _KEYS.get(variant, ())


def endpoint_of(deployment: Deployment) -> str | None:
    """Return where a deployment's requests go, without a path of theirs; None where only a third party knows.

    Raises:
        ConfigError: there is no such runtime, or its options do not fit.
    """
    runtime = runtime_of(deployment)
    config = _config(deployment, runtime)
    variant = getattr(config, "variant", None)
    if config.endpoint is not None or runtime not in _CONFIGS:
        return config.endpoint
    if variant == "azure":
        return f"https://{getattr(config, 'resource', '')}.openai.azure.com"
    if variant == "vertex":
        return str(getattr(config, "vertex_host", ""))
    return str(importlib.import_module(f"spillway.providers.{runtime}.config").ENDPOINT)


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
    config = _config(deployment, runtime)
    if runtime not in _CONFIGS:
        return _third_partys_runner(runtime, deployment, config, environ, key)
    from spillway.providers.credentials import credentials_of  # noqa: PLC0415 - brings HTTP along

    variables = key_variables(runtime, config)
    credentials = credentials_of(deployment, config, environ, variables=variables, key=key)
    module = importlib.import_module(f"spillway.providers.{runtime}.runner")
    runner: ModelRunner = module.make(deployment, config, credentials)
    return runner


def _config(deployment: Deployment, runtime: str) -> RuntimeConfig:
    wanted = config_class(runtime)
    given = deployment.runtime_config
    if isinstance(given, wanted):
        return given
    try:
        if given is None:
            return wanted()
        if type(given) is RuntimeConfig:
            return wanted(endpoint=given.endpoint, api_key=given.api_key)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"deployment {deployment.name!r}: runtime_config: {error}") from error
    raise ConfigError(
        f"deployment {deployment.name!r}: runtime {runtime!r} takes {wanted.__name__}, not {type(given).__name__}"
    )


def _third_partys_runner(
    runtime: str, deployment: Deployment, config: RuntimeConfig, environ: Mapping[str, str], key: int
) -> ModelRunner:
    """Call a third party's factory with the options that it exposes, and with one key out of a pool."""
    if isinstance(config.api_key, tuple):
        config = msgspec.structs.replace(config, api_key=config.api_key[key])
    if config is not deployment.runtime_config:
        deployment = msgspec.structs.replace(deployment, runtime=runtime, runtime_config=config)
    try:
        runner: ModelRunner = _load(runtime)(deployment, environ=environ)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"deployment {deployment.name!r}: runtime {runtime!r} failed to make its runner: {type(error).__name__}"
        ) from error
    return runner


def _load(runtime: str) -> Any:
    """Return the object of a third party's entry point."""
    try:
        return _third_parties()[runtime].load()
    except Exception as error:
        told = " ".join(str(error).split())[:200]
        raise ConfigError(f"runtime {runtime!r} can't be loaded: {type(error).__name__}: {told}") from error


def _third_parties() -> Mapping[str, Any]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
