"""A runtime in one value, for an entry point to name: a wire, its options, and where its key is looked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spillway.core.options import Deployment, RuntimeConfig
from spillway.providers.credentials import credentials_of
from spillway.providers.wire_runner import Wire, WireRunner


class WireRuntime:
    """Makes the runners of a provider that is spoken to in HTTP and JSON.

    Args:
        wire: `wire(config, model)` returns the wire of a deployment; it raises ValueError for options that don't fit.
        config: a subclass of `RuntimeConfig`; its fields are the keys of `runtime_config` in a project file.
        key_variables: environment variables in which the key is looked for when `api_key` is not set.
    """

    def __init__(
        self,
        wire: Callable[[Any, str], Wire],
        *,
        config: type[RuntimeConfig] = RuntimeConfig,
        key_variables: Sequence[str] = (),
    ) -> None:
        self._wire = wire
        self.config = config
        self.key_variables = tuple(key_variables)

    def __call__(self, deployment: Deployment, *, environ: Mapping[str, str]) -> WireRunner:
        """Return the runner of a deployment.

        Raises:
            ConfigError: there is no key.
        """
        config = deployment.runtime_config or self.config()
        credentials = credentials_of(deployment, config, environ, variables=self.key_variables)
        return WireRunner(deployment, self._wire(config, deployment.provider_model), credentials)

    def __repr__(self) -> str:
        return f"<WireRuntime {self.config.__name__}>"
