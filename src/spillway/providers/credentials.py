"""From a deployment's options to the source of its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment, RuntimeConfig
from spillway.core.secrets import SecretRef
from spillway.providers.secret_plugins import credential_source, unknown_plugin
from spillway.remote.http import layer
from spillway.remote.session import CredentialProvider, StaticApiKey


def credentials_of(
    deployment: Deployment,
    config: RuntimeConfig,
    environ: Mapping[str, str],
    *,
    variables: Sequence[str] = (),
    key: int = 0,
) -> CredentialProvider:
    """Return where a deployment's key is read; nothing is read yet but the names in `environ`.

    Args:
        config: its `api_key` (and, where it has one, `credentials`) says where, else its `default_credentials`.
        variables: of the environment, looked at in this order when it says nothing.
        key: which entry of a key pool.

    Raises:
        ConfigError: there is no key, or a variable or a plugin that it names does not exist.
    """
    if layer.offline():
        return StaticApiKey(layer.KEY)
    where = f"deployment {deployment.name!r}"
    given = config.api_key
    if given is None:
        given = getattr(config, "credentials", None)
    if isinstance(given, tuple):
        if not 0 <= key < len(given):
            raise ConfigError(f"{where}: api_key has {len(given)} entries, no number {key}")
        given = given[key]
    own = getattr(config, "default_credentials", None)
    if given is None and own is not None:
        made: CredentialProvider = own(environ)
        return made
    if given is None:
        found = next((name for name in variables if environ.get(name)), None)
        if found is None:
            named = f"set {' or '.join(variables)}, or" if variables else "set"
            raise ConfigError(f"{where}: no API key: {named} runtime_config.api_key")
        given = SecretRef(from_env=found)
    if isinstance(given, SecretRef):
        if given.from_env is not None and not environ.get(given.from_env):
            raise ConfigError(f"{where}: {given.place} is not set")
        if given.from_plugin is not None and (unknown := unknown_plugin(given.from_plugin)) is not None:
            raise ConfigError(f"{where}: {unknown}")
    elif not given:
        raise ConfigError(f"{where}: the API key is empty")
    return credential_source(given, environ)
