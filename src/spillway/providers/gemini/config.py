"""Options of the Gemini runtime: AI Studio or Vertex AI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from spillway.core.options import Options, RuntimeConfig
from spillway.core.secrets import SecretLike

if TYPE_CHECKING:
    from spillway.remote.session import CredentialProvider

ENDPOINT = "https://generativelanguage.googleapis.com"
"""AI Studio's base URL."""


class SafetySetting(Options, frozen=True, kw_only=True):
    """From which probability on one category of harm is blocked, in the provider's words."""

    category: str
    threshold: str


class GeminiConfig(RuntimeConfig, frozen=True, kw_only=True):
    """Where and as whom Gemini is called.

    Attributes:
        endpoint: base URL without a path.
        api_key: AI Studio: the API key. Vertex: an access token, or an API key in express mode (without `project`).
        variant: `ai_studio` or `vertex`.
        project: Vertex: the project; None: express mode.
        region: Vertex: the location, `global`, `us`, `eu` or a region.
        credentials: Vertex: a service account's key file. Without it and `api_key`, but with a project, Google's
            application default credentials are used.
        quota_project: Vertex: the project whose quota is charged, where it is not the credential's own.
        safety: sent with every request as `safetySettings`.
    """

    runtime: ClassVar[str] = "gemini"

    variant: Literal["ai_studio", "vertex"] = "ai_studio"
    project: str | None = None
    region: str | None = None
    credentials: SecretLike | None = None
    quota_project: str | None = None
    safety: tuple[SafetySetting, ...] = ()

    def __post_init__(self) -> None:
        given: Any = self.safety
        if isinstance(given, list | tuple):
            safety = tuple(SafetySetting(**each) if isinstance(each, Mapping) else each for each in given)
            msgspec.structs.force_setattr(self, "safety", safety)
        super().__post_init__()
        if self.variant == "vertex":
            if self.credentials is not None and not self.project:
                raise ValueError("credentials need a project")
            if self.credentials is not None and self.api_key is not None:
                raise ValueError("credentials and api_key exclude each other")
            return
        for name in ("project", "region", "credentials", "quota_project"):
            if getattr(self, name) is not None:
                raise ValueError(f'{name} needs variant = "vertex"')

    @property
    def default_credentials(self) -> Callable[[Mapping[str, str]], CredentialProvider] | None:
        """What makes the application default credentials of an environment, None where others are used."""
        given = self.api_key is not None or self.credentials is not None
        return _application_default if self.variant == "vertex" and self.project and not given else None

    @property
    def vertex_host(self) -> str:
        """The base URL that follows from `region`."""
        region = self.region or "global"
        if region == "global":
            return "https://aiplatform.googleapis.com"
        if region in {"us", "eu"}:
            return f"https://aiplatform.{region}.rep.googleapis.com"
        return f"https://{region}-aiplatform.googleapis.com"


def _application_default(environ: Mapping[str, str]) -> CredentialProvider:
    from spillway.providers.gemini.google_credentials import ApplicationDefault  # noqa: PLC0415 # only where used
    from spillway.providers.gemini.token_exchange import plain_exchange  # noqa: PLC0415 # see above

    return ApplicationDefault(environ, plain_exchange(), plain_exchange())
