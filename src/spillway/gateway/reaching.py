"""Whether the providers can be reached, asked before anybody is served: name, connection and TLS, and no request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from spillway.core.errors import ConfigError, InferenceError
from spillway.providers.registry import endpoint_of
from spillway.remote.http.aiohttp_client import AiohttpClient

if TYPE_CHECKING:
    from spillway.core.options import Deployment

_USER_AGENT = "spillway"


async def unreachable(deployments: Sequence[Deployment]) -> list[str]:
    """Return a line for each place that can't be reached, with the deployments that are asked there.

    All are tried at once, each for its `connect_timeout_s`, over its proxy and with its certificate authorities.
    """
    places: dict[tuple[str, str, str], list[Deployment]] = {}
    for deployment in deployments:
        endpoint = endpoint_of(deployment)
        if endpoint is not None:
            http = deployment.http
            places.setdefault((_origin(endpoint), str(http.proxy or ""), str(http.ca_file or "")), []).append(
                deployment
            )
    doubts = await asyncio.gather(*(_doubt(origin, sharing[0]) for (origin, _, _), sharing in places.items()))
    return [
        f"{', '.join(deployment.name for deployment in sharing)}: {origin} can't be reached: {doubt}"
        for ((origin, _, _), sharing), doubt in zip(places.items(), doubts, strict=True)
        if doubt is not None
    ]


async def _doubt(origin: str, deployment: Deployment) -> str | None:
    """Return why `origin` can't be reached, None when it can."""
    http = msgspec.structs.replace(deployment.http, http2=False)
    try:
        client = AiohttpClient(deployment.timeouts, _USER_AGENT, http=http)
    except ConfigError as error:
        return str(error)
    try:
        await client.reach(f"{origin}/")
    except InferenceError as error:
        return error.message
    finally:
        await client.aclose()
    return None


def _origin(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
