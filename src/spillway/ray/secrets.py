"""How secrets reach the workers: read where the run was started, told to each worker in one call, kept in memory there.

A `Secret` still refuses to be pickled. What travels is a deployment without any, in which each place that held one
names a variable, and beside it the values of these variables: in a call to the worker, not in its constructor's
arguments (which Ray keeps) nor in the environment of its process (which Ray shows to who looks at the job).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from spillway.core.options import Deployment
from spillway.core.secrets import Secret, SecretRef
from spillway.providers.registry import key_variables, runtime_of
from spillway.providers.secret_plugins import credential_source
from spillway.remote.session import CredentialProvider


class Variables(Mapping[str, str]):
    """The variables that a worker's deployments read: what it was told, then the environment of its process.

    A `repr` shows none of them.
    """

    __slots__ = ("_environ", "_looked_up", "_told")

    def __init__(self, told: Mapping[str, str], environ: Mapping[str, str]) -> None:
        self._told = dict(told)
        self._environ = environ
        self._looked_up: Callable[[], None] | None = None

    def on_lookup(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever one of those told is looked up from now on."""
        self._looked_up = callback

    def tell(self, values: Mapping[str, str]) -> None:
        """Have other values from now on."""
        self._told.update(values)

    def __getitem__(self, name: str) -> str:
        if name not in self._told:
            return self._environ[name]
        if self._looked_up is not None:
            self._looked_up()
        return self._told[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._environ, **self._told})

    def __len__(self) -> int:
        return len({*self._environ, *self._told})

    def __repr__(self) -> str:
        return f"<{len(self._told)} variables told>"


class SecretReader:
    """Deployments without their secrets, and the sources of these.

    Args:
        environ: where secrets `from_env` and the providers' usual variables are read.

    Attributes:
        deployments: the same, with each secret read from a variable.
    """

    def __init__(self, deployments: Sequence[Deployment], environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._sources: dict[str, CredentialProvider] = {}
        self.deployments = tuple(self._deployment(each) for each in deployments)

    async def read(self) -> dict[str, str]:
        """Return the values of all variables, each read from its source now.

        Raises:
            ConfigError: a source yields none; the message names the place, never the value.
        """
        return {name: (await source.token()).reveal() for name, source in self._sources.items()}

    def _deployment(self, deployment: Deployment) -> Deployment:
        config = deployment.runtime_config
        if config is None or (config.api_key is None and getattr(config, "credentials", None) is None):
            for name in key_variables(runtime_of(deployment), config):
                if self._environ.get(name):
                    self._named(SecretRef(from_env=name))
        found: Deployment = self._without(deployment, f"deployment {deployment.name}")
        return found

    def _without(self, value: Any, where: str) -> Any:
        if isinstance(value, (Secret, SecretRef)):
            return self._named(value, where)
        if isinstance(value, tuple):
            entries = tuple(self._without(each, f"{where}[{at}]") for at, each in enumerate(value))
            return value if all(map(operator.is_, entries, value)) else entries
        if isinstance(value, msgspec.Struct):
            fields = {name: getattr(value, name) for name in value.__struct_fields__}
            changed = {name: self._without(each, f"{where}: {name}") for name, each in fields.items()}
            changed = {name: each for name, each in changed.items() if each is not fields[name]}
            return msgspec.structs.replace(value, **changed) if changed else value
        return value

    def _named(self, secret: Secret | SecretRef, where: str = "") -> SecretRef:
        if isinstance(secret, SecretRef) and secret.from_env is not None:
            self._sources[secret.from_env] = credential_source(secret, self._environ)
            return secret
        place = secret.place if isinstance(secret, SecretRef) else "given"
        name = f"{where} ({place})"
        self._sources[name] = credential_source(secret, self._environ)
        return SecretRef(from_env=name)

    def __repr__(self) -> str:
        return f"<SecretReader of {len(self._sources)} secrets>"
