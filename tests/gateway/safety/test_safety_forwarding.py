"""What of a caller's request reaches a provider, and what of a provider's answer reaches a caller."""

import json

import pytest
from safety_rig import BEARER, CHAT, KEY, UPSTREAM_KEY, Upstream, app_of, ask_app, said

NOT_FOR_PROVIDERS = {
    "authorization": f"Bearer {KEY}",
    "cookie": "session=CANARY",
    "x-forwarded-for": "CANARY",
    "x-forwarded-host": "CANARY",
    "forwarded": "for=CANARY",
    "x-real-ip": "CANARY",
    "te": "trailers",
    "upgrade": "CANARY",
    "keep-alive": "timeout=CANARY",
    "proxy-authorization": "Basic CANARY",
    "proxy-connection": "CANARY",
    "connection": "close, x-listed",
    "x-listed": "CANARY",
    "x-goog-api-key": "CANARY",
    "api-key": "CANARY",
    "openai-organization": "CANARY",
    "openai-project": "CANARY",
    "x-litellm-api-key": "CANARY",
    "x-litellm-tags": "CANARY",
    "x-stainless-lang": "CANARY",
    "user-agent": "CANARY",
    "accept-language": "CANARY",
    "referer": "CANARY",
    "anthropic-beta": "CANARY",
    "x-request-id": "CANARY",
    "x-spillway-priority": "normal",
}
MODELS = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "house")


@pytest.fixture(autouse=True)
def the_usual_answer(upstream):
    yield
    upstream.answers_with()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shown", ["authorization", "x-api-key"])
def test_no_header_of_the_caller_reaches_the_provider(served, upstream, model, shown):
    headers = dict(NOT_FOR_PROVIDERS)
    if shown == "x-api-key":
        del headers["authorization"]
        headers["x-api-key"] = KEY
    assert served.ask("POST", CHAT, headers, said(model=model)).status == 200
    path, arrived, body = upstream.requests[-1]
    everything = json.dumps([path, arrived, body])
    assert "CANARY" not in everything
    assert KEY not in everything
    assert UPSTREAM_KEY in json.dumps(arrived)
    assert arrived["host"] == upstream.url.removeprefix("http://")
    known = {"host", "content-type", "content-length", "user-agent", "accept", "accept-encoding", "authorization"}
    known |= {
        "x-api-key",
        "anthropic-version",
        "x-goog-api-key",
        "idempotency-key",
        "x-client-request-id",
        "x-spillway-attempt",
    }
    assert arrived.keys() <= known


ENDPOINTS = {
    "api_base": "{url}", "base_url": "{url}", "api_key": "CANARY", "endpoint": "{url}", "api_version": "CANARY", "api_type": "CANARY",
    "azure_endpoint": "{url}", "azure_ad_token": "CANARY", "organization": "CANARY", "headers": {"x-a": "CANARY"}, "extra_headers": {"x-a": "CANARY"},
    "extra_body": {"api_base": "{url}"}, "extra_query": {"api_base": "{url}"}, "default_headers": {"x-a": "CANARY"}, "proxy": "{url}",
    "proxies": {"http": "{url}"}, "http_client": "CANARY", "client": "CANARY", "user_config": {"model_list": []}, "model_list": [],
    "litellm_params": {"api_base": "{url}"}, "litellm_credential_name": "CANARY", "custom_llm_provider": "CANARY", "ssl_verify": False,
    "fallbacks": [{"model": "x", "api_base": "{url}"}], "aws_sts_endpoint": "{url}", "aws_access_key_id": "CANARY", "vertex_credentials": "CANARY",
    "vertex_project": "CANARY", "credentials": "CANARY",
}  # fmt: skip
DOORS = {
    CHAT: lambda model: said(model=model),
    "/v1/embeddings": lambda model: {"model": "text-embedding-3-small", "input": "hi"},
    "/v1/responses": lambda model: {"model": model, "input": "hi"},
    "/v1/messages": lambda model: said(model=model, max_tokens=10),
    "/v1/messages/count_tokens": lambda model: said(model="claude-haiku-4-5"),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("model", MODELS)
def test_no_caller_names_an_endpoint_or_a_key(served, upstream, door, model):
    """All are dropped, but for those that other requests stand in, which a wire may refuse."""
    with Upstream() as other:
        named = json.loads(json.dumps(ENDPOINTS).replace("{url}", other.url))
        refused = served.ask("POST", door, BEARER, {**DOORS[door](model), **named})
        assert refused.status in {200, 400}
        del named["extra_body"], named["fallbacks"]
        answer = served.ask("POST", door, BEARER, {**DOORS[door](model), **named})
        assert answer.status == 200, answer
        assert other.requests == []
    everything = json.dumps(upstream.requests)
    assert "CANARY" not in everything
    assert other.url not in everything
    assert not upstream.requests[-1][2].keys() & named.keys()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("part", [
    {"type": "image_url", "image_url": {"url": "{url}/a.png"}},
    {"type": "file", "file": {"file_data": "{url}/a.pdf", "filename": "a.pdf"}},
    {"type": "file", "file": {"file_url": "{url}/a.pdf"}},
    {"type": "video_url", "video_url": {"url": "{url}/a.mp4"}},
    {"type": "document", "source": {"type": "url", "url": "{url}/a.pdf"}},
])  # fmt: skip
def test_nothing_that_a_message_points_to_is_fetched(served, model, part):
    with Upstream() as inside:
        content = [{"type": "text", "text": "look"}, json.loads(json.dumps(part).replace("{url}", inside.url))]
        answer = served.ask("POST", CHAT, BEARER, said(content, model=model))
        assert answer.status in {200, 400}
        assert inside.requests == []


FROM_PROVIDERS = {
    "set-cookie": "a=CANARY", "x-amzn-trace-id": "CANARY", "cf-ray": "CANARY", "x-internal-id": "CANARY", "server": "CANARY", "via": "CANARY",
    "openai-organization": "CANARY", "x-litellm-model-api-base": "CANARY", "access-control-allow-origin": "CANARY", "location": "CANARY",
    "www-authenticate": "CANARY", "strict-transport-security": "CANARY",
}  # fmt: skip


async def told(upstream, model="gpt-4o-mini", **asked):
    """Ask a fresh gateway once."""
    async with app_of(upstream.url) as app:
        body = json.dumps(said(model=model, **asked)).encode()
        answer, _ = await ask_app(app, "POST", CHAT, BEARER, [body])
        return answer


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503])
async def test_no_header_of_the_provider_reaches_the_caller(upstream, model, status):
    upstream.answers_with(status, FROM_PROVIDERS, None if status == 200 else '{"error":{"message":"no","type":"x"}}')
    answer = await told(upstream, model)
    assert (answer.status == 200) == (status == 200), answer
    assert "CANARY" not in json.dumps(answer.headers)
    assert answer.headers["content-type"] == "application/json"
    allowed = {
        "content-type",
        "content-length",
        "x-content-type-options",
        "x-request-id",
        "retry-after",
        "x-should-retry",
    }
    assert {name for name in answer.headers if not name.startswith("x-spillway-")} <= allowed


HTML = (
    "<html><head><title>502 Bad gateway</title></head><body><script>alert(1)</script>" + "x" * 4096 + "</body></html>"
)


@pytest.mark.parametrize("status", [200, 400, 404, 429, 502, 503])
@pytest.mark.parametrize("model", MODELS)
async def test_a_page_is_told_by_its_title(upstream, model, status):
    upstream.answers_with(status, {"content-type": "text/html"}, HTML)
    answer = await told(upstream, model)
    assert answer.status in {400, 404, 429, 502, 503}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"<" not in answer.body
    assert len(answer.json["error"]["message"]) < 1000
    if status == 502:
        assert answer.status == 502
        assert "502 Bad gateway" in answer.json["error"]["message"]


NASTY = [
    f"Incorrect API key provided: {UPSTREAM_KEY}",
    "Incorrect API key provided: sk-proj-abcdefghijklmnop1234567890. Authorization: Bearer abcdefghijklmnop1234567890",
    "</script><script>alert(1)</script>",
    "a\r\nset-cookie: x=y\x1b[31mred",
    "x" * 2**20,
    "\ud83d\ude00" * 1000,
]


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("status", [400, 429, 500])
async def test_what_a_provider_says_is_cut_masked_and_coded(upstream, model, text, status):
    body = json.dumps({"type": "error", "error": {"message": text, "type": "x", "code": None}})
    upstream.answers_with(status, {"content-type": "application/json"}, body)
    answer = await told(upstream, model)
    message = answer.json["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.body) < 8192
    assert UPSTREAM_KEY not in message
    assert "abcdefghijklmnop1234567890" not in message
    assert not any(ord(letter) < 32 or letter == "\x7f" for letter in message)
