"""The token endpoints: the shape of an assertion is checked, and a token is good for as long as it says."""

import base64
import json

import pytest

from spillway.sim import SimConfig, Simulator

VERTEX = "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-flash:generateContent"
METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
BODY = {"contents": [{"parts": [{"text": "hi"}]}]}


def segment(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def assertion(simulator, *, head=None, **claims):
    now = int(simulator._wall().timestamp())
    claims = {"iss": "s@p", "scope": "x", "aud": f"{simulator.url}/token", "iat": now, "exp": now + 3600} | claims
    return ".".join([segment({"alg": "RS256", "kid": "k"} | (head or {})), segment(claims), "c2ln"])


async def token(simulator, asker, form):
    async with asker.session.post(f"{simulator.url}/token", data=form) as response:
        return response.status, await response.json(), response.headers


async def status_with(simulator, asker, key):
    headers = {"Authorization": f"Bearer {key}"}
    async with asker.session.post(simulator.url + VERTEX, json=BODY, headers=headers) as response:
        return response.status, await response.json()


async def test_a_token_is_good_until_it_ends(start):
    simulator, asker = await start(token_lifetime_s=1800.0)
    status, answer, headers = await token(simulator, asker, {"grant_type": JWT, "assertion": assertion(simulator)})
    assert (status, answer) == (200, {"access_token": "ya29.sim-1", "expires_in": 1800, "token_type": "Bearer"})
    assert headers["Date"].endswith("GMT")
    assert (await status_with(simulator, asker, "ya29.sim-1"))[0] == 200
    simulator.tokens.revoke()
    for key in ("ya29.sim-1", "ya29.sim-99"):
        status, answer = await status_with(simulator, asker, key)
        assert (status, answer["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert (await status_with(simulator, asker, "anything else"))[0] == 200
    assert simulator.tokens.issued == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"head": {"alg": "HS256"}}, "RS256"),
        ({"head": {"kid": ""}}, "kid"),
        ({"iss": ""}, "iss"),
        ({"scope": None}, "scope"),
        ({"aud": "https://elsewhere/token"}, "aud"),
        ({"exp": 2**33}, "short-lived"),
        ({"iat": 1, "exp": 100}, "reasonable timeframe"),
    ],
)
async def test_an_assertion_of_another_shape_is_refused(start, change, why):
    simulator, asker = await start()
    form = {"grant_type": JWT, "assertion": assertion(simulator, **change)}
    status, answer, _ = await token(simulator, asker, form)
    assert (status, answer["error"]) == (400, "invalid_grant")
    assert why in answer["error_description"]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "unsupported_grant_type"),
        ({"grant_type": JWT}, "invalid_request"),
        ({"grant_type": JWT, "assertion": "a.b"}, "invalid_grant"),
        ({"grant_type": JWT, "assertion": "a.b.c"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "client_id": "i"}, "invalid_request"),
    ],
)
async def test_a_form_that_is_not_whole_is_refused(start, form, code):
    simulator, asker = await start()
    status, answer, _ = await token(simulator, asker, form)
    assert (status, answer["error"]) == (400, code)


async def test_users_and_machines_get_tokens_too_and_an_outage_refuses_all(start):
    simulator, asker = await start()
    form = {"grant_type": "refresh_token", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
    assert (await token(simulator, asker, form))[0] == 200
    for headers, status in (({"Metadata-Flavor": "Google"}, 200), ({}, 400)):
        async with asker.session.get(simulator.url + METADATA, headers=headers) as response:
            assert response.status == status
    async with asker.session.get(f"{simulator.url}/token") as response:
        assert response.status == 400
    simulator.tokens.outage = 503
    assert (await token(simulator, asker, form))[0] == 503


def test_a_lifetime_is_above_zero():
    with pytest.raises(ValueError, match="token_lifetime_s"):
        Simulator(SimConfig(token_lifetime_s=0.0))
