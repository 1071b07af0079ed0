"""Google's credentials: what is sent for each kind, what is told when none is granted, and that nothing shows a key."""

import asyncio
import base64
import json
import logging
import sys
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from google_keys import pem, service_account

from spillway.core.errors import ConfigError, NetworkError
from spillway.core.options import Timeouts
from spillway.core.secrets import Secret
from spillway.providers.gemini.google_credentials import ApplicationDefault, GoogleCredential, well_known_file
from spillway.providers.gemini.token_exchange import TokenExchange
from spillway.remote.http import build_client
from spillway.remote.session import StaticApiKey
from spillway.sim import SimConfig, Simulator
from spillway.testing import run_virtual
from spillway.testing.byte_server import ByteServer, Do, answer

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
JSON = {"content-type": "application/json"}


class Response:
    def __init__(self, status, body, headers=()):
        self.status, self.body, self.headers = status, body, dict(headers)

    async def read(self, limit=0):
        return json.dumps(self.body).encode()

    def abort(self):
        pass


class Client:
    """Answers with what `say` makes of each request."""

    def __init__(self, say):
        self.say, self.asked, self.closed = say, [], 0

    async def send(self, request):
        self.asked.append(request)
        said = self.say(request)
        if isinstance(said, Exception):
            raise said
        return said

    async def aclose(self):
        self.closed += 1


def granted(**more):
    return Response(200, {"access_token": "ya29.x", "expires_in": 3599, "token_type": "Bearer", **more})


def exchange_of(say):
    client = Client(say)
    return client, TokenExchange(lambda: client, wall=lambda: NOW)


def credential(say, text=None):
    client, exchange = exchange_of(say)
    source = StaticApiKey(text or service_account("https://issuer/token"))
    return client, GoogleCredential(source, exchange, wall=lambda: NOW)


def assertion(request):
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    head, claims, _ = form["assertion"].split(".")
    return form, *(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, claims))


async def test_a_service_account_signs_for_its_token():
    client, source = credential(lambda _: granted())
    began = asyncio.get_running_loop().time()
    token = await source.token()
    assert token == Secret("ya29.x")
    assert 3598 < token.expires_at - began < 3600
    assert token.quota_project is None
    (asked,) = client.asked
    assert (asked.method, asked.url, client.closed) == ("POST", "https://issuer/token", 1)
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    form, head, claims = assertion(asked)
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert head == {"typ": "JWT", "alg": "RS256", "kid": "k1"}
    assert claims == {
        "iss": "sim@p.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://issuer/token",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 3600,
    }


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_clock_that_is_wrong_is_set_right_by_the_issuers_date(minutes):
    theirs = NOW + timedelta(minutes=minutes)

    def say(request):
        claims = assertion(request)[2]
        if abs(claims["iat"] - theirs.timestamp()) > 60:
            date = theirs.strftime("%a, %d %b %Y %H:%M:%S GMT")
            return Response(400, {"error": "invalid_grant", "error_description": "Invalid JWT"}, {"Date": date})
        return granted()

    client, source = credential(say)
    began = asyncio.get_running_loop().time()
    assert 3598 < (await source.token()).expires_at - began < 3601  # by our own clock, from its receipt
    assert len(client.asked) == 2
    await source.token()
    assert len(client.asked) == 3  # what was learnt is kept


async def test_a_users_refresh_token_is_exchanged_and_its_quota_project_is_told():
    info = {
        "type": "authorized_user",
        "client_id": "i",
        "client_secret": "s",
        "refresh_token": "r",
        "quota_project_id": "q",
    }
    client, source = credential(lambda _: granted(), json.dumps(info))
    token = await source.token()
    assert token.quota_project == "q"
    (asked,) = client.asked
    assert asked.url == "https://oauth2.googleapis.com/token"
    form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
    assert form == {"grant_type": "refresh_token", "client_id": "i", "client_secret": "s", "refresh_token": "r"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "no Google credential"),
        ('{"a": 1}', "no Google credential"),
        ('{"type": "service_account"}', "no client_email"),
        ('{"type": "authorized_user"}', "no client_id"),
        ('{"type": "service_account", "client_email": "e", "private_key": "k-canary"}', "no RSA key in PEM"),
        ('{"type": "something_new"}', "no access token"),
    ],
)
async def test_a_key_file_that_is_none_is_one_clear_line(text, words):
    client, source = credential(lambda _: granted(), text)
    with pytest.raises(ConfigError, match=words) as caught:
        await source.token()
    assert str(caught.value).startswith("the key given")
    assert "canary" not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
    assert not client.asked


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            Response(401, {"error": "invalid_client", "error_description": "Unauthorized"}),
            "invalid_client: Unauthorized",
        ),
        (Response(403, {"error": {"status": "PERMISSION_DENIED", "message": "no"}}), "PERMISSION_DENIED: no"),
        (Response(404, []), "HTTP 404"),
        (Response(200, {"id_token": "x"}), "HTTP 200"),
    ],
)
async def test_what_the_endpoint_refuses_is_told_and_not_asked_again(said, words):
    client, source = credential(lambda _: said)
    with pytest.raises(ConfigError, match=words):
        await source.token()
    assert len(client.asked) == 1


@pytest.mark.parametrize("said", [NetworkError("no route"), Response(503, {}), Response(429, {})])
def test_an_endpoint_that_is_down_is_asked_three_times(said):
    async def main():
        client, source = credential(lambda _: said)
        with pytest.raises(ConfigError, match="does not answer"):
            await source.token()
        assert (len(client.asked), client.closed) == (3, 1)

    async def signed_at_once(function, *args):
        return function(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", signed_at_once)  # virtual time does not wait for threads
        run_virtual(main())


async def test_an_endpoint_that_recovers_within_the_tries_is_no_failure():
    said = iter([NetworkError("reset"), Response(500, {}), granted()])
    client, source = credential(lambda _: next(said))
    assert await source.token() == Secret("ya29.x")
    assert len(client.asked) == 3


async def test_without_the_extra_one_line_names_it(monkeypatch):
    _, source = credential(lambda _: granted())
    monkeypatch.setitem(sys.modules, "google.auth.crypt", None)
    with pytest.raises(ConfigError, match=r"the extra vertex: pip install 'spillway\[vertex\]'"):
        await source.token()
    _, other = credential(lambda _: granted(), '{"type": "external_account"}')
    monkeypatch.setitem(sys.modules, "google.auth.identity_pool", None)
    with pytest.raises(ConfigError, match=r"type external_account needs the extra vertex"):
        await other.token()


def default_of(environ, say=lambda _: granted()):
    client, exchange = exchange_of(say)
    near, near_exchange = exchange_of(say)
    return client, near, ApplicationDefault(environ, exchange, near_exchange)


async def test_application_default_credentials_are_looked_up_in_googles_order(tmp_path):
    named, gcloud = tmp_path / "sa.json", tmp_path / ".config" / "gcloud"
    gcloud.mkdir(parents=True)
    user = {
        "type": "authorized_user",
        "client_id": "i",
        "client_secret": "s",
        "refresh_token": "r",
        "token_uri": "https://u",
    }
    environ = {"HOME": str(tmp_path), "GOOGLE_APPLICATION_CREDENTIALS": str(named), "GCE_METADATA_HOST": "meta:8"}
    named.write_text(service_account("https://named"))
    (gcloud / "application_default_credentials.json").write_text(json.dumps(user))

    client, near, source = default_of(environ)
    await source.token()
    del environ["GOOGLE_APPLICATION_CREDENTIALS"]
    await source.token()
    assert [asked.url for asked in client.asked] == ["https://named", "https://u"]
    assert not near.asked
    environ["GOOGLE_CLOUD_QUOTA_PROJECT"] = "mine"
    assert (await source.token()).quota_project == "mine"
    environ |= {"HOME": str(tmp_path / "nobody"), "GOOGLE_CLOUD_QUOTA_PROJECT": "q"}
    token = await source.token()
    assert token.quota_project == "q"
    (asked,) = near.asked
    assert asked.url.startswith("http://meta:8/computeMetadata/v1/instance/service-accounts/default/token?scopes=https")
    assert asked.headers == {"metadata-flavor": "Google"}
    assert well_known_file({"CLOUDSDK_CONFIG": "/c"}).parent.as_posix() == "/c"
    assert well_known_file({"APPDATA": "/a"}).parent.as_posix() == "/a/gcloud"
    assert well_known_file({}) is None


async def test_no_application_default_credentials_is_one_line_that_says_what_to_do():
    _, _, source = default_of({}, lambda _: NetworkError("no such host"))
    with pytest.raises(ConfigError, match="GOOGLE_APPLICATION_CREDENTIALS.*gcloud auth application-default login"):
        await source.token()


async def test_a_federated_identity_is_google_auths_work_over_our_client(tmp_path):
    (tmp_path / "subject").write_text("subject-token")
    async with Simulator(SimConfig(token_lifetime_s=1800)) as sim:
        info = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{sim.url}/token",
            "credential_source": {"file": str(tmp_path / "subject")},
        }
        exchange = TokenExchange(lambda: build_client(Timeouts(), "t/1"))
        began = asyncio.get_running_loop().time()
        token = await GoogleCredential(StaticApiKey(json.dumps(info)), exchange).token()
        assert token.reveal() == "ya29.sim-1"
        assert 1790 < token.expires_at - began < 1810
        sim.tokens.outage = 503
        with pytest.raises(ConfigError, match="does not answer"):
            await GoogleCredential(StaticApiKey(json.dumps(info)), exchange).token()


async def test_no_secret_shows_in_an_error_or_a_log(caplog):
    caplog.set_level(logging.DEBUG)
    body = json.dumps(
        {"error": "invalid_grant", "error_description": "bad assertion=eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0.c2ln"}
    )
    async with ByteServer([Do.READ, answer(body.encode(), 400, headers=JSON)]) as server:
        exchange = TokenExchange(lambda: build_client(Timeouts(), "t/1"))
        source = GoogleCredential(StaticApiKey(service_account(f"{server.url}/token")), exchange)
        with pytest.raises(ConfigError) as caught:
            await source.token()
    shown = f"{caught.value!r}{caught.value.__context__!r}{source!r}{caplog.text}"
    assert "invalid_grant" in shown
    for canary in ("eyJ", "PRIVATE KEY", pem().splitlines()[1]):
        assert canary not in shown
