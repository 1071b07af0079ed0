"""The session of a deployment: a client and a credential that are replaced together, and where they come from."""

from spillway.remote.session.actor import RemoteSessionActor, SessionConfig, SessionRebuildRequest
from spillway.remote.session.credentials import (
    CommandCredential,
    CredentialProvider,
    EnvCredential,
    FileCredential,
    StaticApiKey,
    credential_provider,
)
from spillway.remote.session.expiry import Token
from spillway.remote.session.snapshot import SessionSnapshot

__all__ = [
    # the session
    "RemoteSessionActor",
    "SessionConfig",
    "SessionRebuildRequest",
    "SessionSnapshot",
    # where credentials come from
    "CommandCredential",
    "CredentialProvider",
    "EnvCredential",
    "FileCredential",
    "StaticApiKey",
    "Token",
    "credential_provider",
]
