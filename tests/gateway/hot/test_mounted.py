"""The gateway below a path of another app, which hands requests on with the root in their path, or without it."""

import json

import pytest
from asgi import Asked, chat, gateway_before, openai, whole

from spillway.testing.byte_server import ByteServer, Do, answer

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("path", ["/llm/v1/chat/completions", "/v1/chat/completions"])
async def test_routes_are_found_below_the_root(path):
    provider = [Do.READ, answer(json.dumps(whole()).encode(), headers=JSON)]
    async with ByteServer(provider) as server, gateway_before(openai(server)) as gateway:
        asked = await Asked(gateway, chat(), path=path, root_path="/llm").end()
    assert asked.status == 200
    assert gateway.heard[0].door == "chat"


async def test_what_only_begins_like_the_root_is_not_below_it():
    async with ByteServer([Do.READ]) as server, gateway_before(openai(server)) as gateway:
        asked = await Asked(gateway, chat(), path="/v1llm/v1/models", root_path="/v1").end()
    assert asked.status == 404
