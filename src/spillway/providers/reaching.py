"""Whether somebody answers at a URL."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from spillway.core.errors import ConfigError, InferenceError
from spillway.remote.http import HttpClient, HttpRequest

_READ = 64 * 1024


async def answers(url: str, client: HttpClient, *, timeout_s: float) -> None:
    """Ask for `url` without a credential; any status below 500 is an answer.

    Raises:
        ConfigError: nobody answers within `timeout_s`, or with a 5xx; one line that names host and port.
    """
    parts = urlsplit(url)
    where = f"{parts.scheme}://{parts.hostname}{'' if parts.port is None else f':{parts.port}'}{parts.path}"
    try:
        async with asyncio.timeout(timeout_s):
            response = await client.send(HttpRequest("GET", url, {"accept": "*/*"}))
            with suppress(InferenceError):
                await response.read(_READ)
            await response.aclose()
    except TimeoutError:
        raise ConfigError(f"{where} does not answer within {timeout_s:g} s") from None
    except InferenceError as error:
        raise ConfigError(f"{where} can't be reached: {error.message}") from error
    if response.status >= 500:
        raise ConfigError(f"{where} answers HTTP {response.status}")
