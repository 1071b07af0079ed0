"""The loop that everybody writes first: a client, a semaphore, three retries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
import msgspec

from spillway.core.clock import sleep
from spillway.demo.outcome import Outcome
from spillway.demo.scene import KEYS, MAX_TOKENS, Ask

_RETRIES = 3
_AT_ONCE = 64
_TIMEOUT_S = 4.0

_Failures = (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, KeyError, IndexError, TypeError)


async def run_naive(url: str, asks: Iterable[Ask], progress: Callable[[Outcome], None]) -> Outcome:
    """Send every prompt; on any error wait a moment and send it again, three times."""
    outcome = Outcome()
    gate = asyncio.Semaphore(_AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
        for ask in asks:
            tasks.create_task(_one(session, url, ask, gate, outcome, progress))
    return outcome


async def _one(
    session: aiohttp.ClientSession,
    url: str,
    ask: Ask,
    gate: asyncio.Semaphore,
    outcome: Outcome,
    progress: Callable[[Outcome], None],
) -> None:
    async with gate:
        for attempt in range(_RETRIES + 1):
            try:
                outcome.hand_over(ask.number, await _send(session, url, ask))
                break
            except _Failures as error:
                if attempt == _RETRIES:
                    outcome.failed[ask.number] = type(error).__name__
                else:
                    await sleep(0.25 * 2**attempt)
    progress(outcome)


async def _send(session: aiohttp.ClientSession, url: str, ask: Ask) -> str:
    path, headers, body, read = _REQUESTS[ask.deployment](ask)
    async with session.post(url + path, json=body, headers=headers) as response:
        response.raise_for_status()
        if not ask.stream:
            return str(read(msgspec.json.decode(await response.read())))
        text = ""
        async for line in response.content:
            if line.startswith(b"data: {"):
                text += read(msgspec.json.decode(line[6:])) or ""
        return text


def _openai(ask: Ask) -> tuple[str, dict[str, str], dict[str, Any], Callable[[Any], str | None]]:
    body = {
        "model": ask.deployment,
        "messages": [{"role": "user", "content": ask.text}],
        "max_tokens": MAX_TOKENS,
        "stream": ask.stream,
    }

    def read(event: Any) -> str | None:
        if not event["choices"]:
            return ""
        choice = event["choices"][0]
        content: str | None = (choice["delta"] if ask.stream else choice["message"]).get("content")
        return content

    return "/v1/chat/completions", {"authorization": f"Bearer {KEYS[ask.deployment]}"}, body, read


def _anthropic(ask: Ask) -> tuple[str, dict[str, str], dict[str, Any], Callable[[Any], str | None]]:
    body = {
        "model": ask.deployment,
        "messages": [{"role": "user", "content": ask.text}],
        "max_tokens": MAX_TOKENS,
        "stream": ask.stream,
    }
    headers = {"x-api-key": KEYS[ask.deployment], "anthropic-version": "2023-06-01"}

    def read(event: Any) -> str | None:
        if not ask.stream:
            return "".join(block.get("text", "") for block in event["content"])
        text: str = event.get("delta", {}).get("text", "")
        return text

    return "/v1/messages", headers, body, read


def _gemini(ask: Ask) -> tuple[str, dict[str, str], dict[str, Any], Callable[[Any], str | None]]:
    verb = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
    body = {
        "contents": [{"role": "user", "parts": [{"text": ask.text}]}],
        "generationConfig": {"maxOutputTokens": MAX_TOKENS},
    }

    def read(event: Any) -> str | None:
        parts = event["candidates"][0].get("content", {}).get("parts", [])
        return "".join(part.get("text", "") for part in parts)

    path = f"/v1beta/models/{ask.deployment}:{verb}"
    return path, {"x-goog-api-key": KEYS[ask.deployment]}, body, read


_REQUESTS = {"gpt-4o-mini": _openai, "claude-haiku-4-5": _anthropic, "gemini-2.5-flash": _gemini}
