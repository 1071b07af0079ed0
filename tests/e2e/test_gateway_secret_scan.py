"""Keys of callers, operators and providers are looked for in everything that a gateway ever shows; prompts in its logs."""

import asyncio
import contextlib
import json
import logging
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "safety"))

from canaries import BARE, KEYS, Canary, watching
from fault_table import FAULTS, steps_of
from matrix import always
from safety_rig import CHAT, Served, Upstream, answers, ask_app, said

import spillway
from spillway.core.secrets import Secret
from spillway.gateway import create_app
from spillway.gateway.doors import DOORS
from spillway.runtime.project import GatewayKey
from spillway.testing.byte_server import ByteServer, answer

CALLER, ADMIN, NEAR = Canary("sk-spill-CANARY-", 11), Canary("adm-CANARY-", 12), Canary("", 13)
FLOODS = {"a body of 64 MiB and more", "a gzip bomb", "a gzip bomb of an event", "an event of 16 MiB and more"}


@pytest.fixture
def sieve(caplog, capfd):
    with watching(caplog, capfd) as found:
        found.canaries = (*found.canaries, CALLER, ADMIN, NEAR)
        yield found


class Told:
    """Keeps every record."""

    def __init__(self):
        self.records = []

    def on_served(self, record):
        self.records.append(record)


@contextlib.asynccontextmanager
async def gateway_of(sieve, *scripts):
    """A gateway with canaries for keys before a server that plays scripts; all it told is looked at in the end."""
    told = Told()
    async with ByteServer(*scripts) as server:
        config = spillway.OpenAiConfig(endpoint=server.url, api_key=Secret(KEYS["openai"].reveal()))
        retry = spillway.RetryPolicy(max_retries=0)
        deployment = spillway.Deployment(name="gpt-4o-mini", runtime_config=config, retry=retry)
        async with spillway.Cluster([deployment], environ={"NOT_FOR_YOU": BARE.reveal()}) as cluster:
            secret = Secret(CALLER.reveal())
            app = create_app(
                cluster,
                keys=[(GatewayKey(name="team-a", key=secret), secret)],
                admin_key=Secret(ADMIN.reveal()),
                listeners=[told],
            )
            yield app
            for record in told.records:
                sieve.look_at_object("record", record)
            for name in ("callers", "operator", "hosts", "cluster"):
                sieve.look_at_object(name, getattr(app, name))
            for caller in app.callers.every:
                sieve.look_at_object("caller", caller)
    assert told.records


ENDING = [path for path in DOORS if path != "/admin/events"]
"""Routes whose answer ends by itself."""


async def ask_and_look(sieve, where, app, method="POST", path=CHAT, headers=None, body=None):
    shown = {"authorization": f"Bearer {CALLER.reveal()}", "x-spillway-timeout-s": "0.1", **(headers or {})}
    got, _ = await ask_app(app, method, path, shown, [json.dumps(body or said()).encode()])
    sieve.look(f"{where} answer", got.body)
    sieve.look(f"{where} headers", json.dumps(got.headers))
    return got


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_every_fault_of_the_table(sieve, stream):
    for name, fault in FAULTS.items():
        if fault.only in (None, stream) and name not in FLOODS:
            async with gateway_of(sieve, *always(steps_of(fault, stream))) as app:
                got = await ask_and_look(sieve, name, app, body=said(stream=stream))
                assert got.status != 200 or b'"error"' in got.body


async def test_a_provider_that_quotes_all_keys(sieve):
    keys = [KEYS["openai"].reveal(), KEYS["anthropic"].reveal(), KEYS["gemini"].reveal()]
    for status in (400, 401, 403, 404, 429, 500, 503):
        words = "; ".join(f"wrong key {key}, Authorization: Bearer {key}, ?key={key}" for key in keys)
        said_so = answer(
            json.dumps({"error": {"message": words}}).encode(), status, {"content-type": "application/json"}
        )
        async with gateway_of(sieve, *always([said_so])) as app:
            await ask_and_look(sieve, f"{status}", app)


async def test_keys_in_the_wrong_places(sieve):
    wrong = NEAR.reveal()
    async with gateway_of(sieve, *always([answer(b"{}", 500)])) as app:
        for path in [*ENDING, "/nowhere", f"/{wrong[:4]}"]:
            for headers in (
                {"authorization": f"Bearer {wrong}"},
                {"authorization": wrong},
                {"authorization": f"Basic {wrong}"},
                {"authorization": "", "x-api-key": wrong},
                {"authorization": f"Bearer {ADMIN.reveal()}"},
                {"cookie": f"key={wrong}"},
                {"x-goog-api-key": wrong, "api-key": wrong, "proxy-authorization": wrong},
                {"x-spillway-priority": "normal"},
            ):
                for method in ("GET", "POST", "OPTIONS"):
                    await ask_and_look(sieve, f"{method} {path}", app, method, path, headers)
        await ask_and_look(sieve, "fields", app, body=said(api_key=wrong, api_base=f"http://{wrong}@x"))


def test_a_process_shows_no_key(tmp_path, capfd):
    """Standard streams, command line and open doors of `spillway serve`, and the environment of what it starts."""
    with Upstream() as upstream:
        key_file = tmp_path / "key"
        key_file.write_text(CALLER.reveal())
        child = tmp_path / "child.sh"
        child.write_text(f"#!/bin/sh\ntr '\\0' '\\n' </proc/self/environ >{tmp_path}/environ\ncat {key_file}\n")
        child.chmod(0o700)
        gateway = f'admin_key = {{ from_command = ["{child}"] }}\n[[gateway.keys]]\nname = "c"\nkey = {{ from_file = "{tmp_path}/caller" }}'
        (tmp_path / "caller").write_text(ADMIN.reveal())
        environ = {"OPENAI_API_KEY": KEYS["openai"].reveal(), "PYTHONASYNCIODEBUG": "1"}
        with Served(tmp_path, upstream.url, keys=False, admin=False, gateway=gateway, environ=environ) as served:
            shown = []
            for door in ENDING:
                for key in (CALLER.reveal(), ADMIN.reveal()):
                    request = f"GET {door} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
                    shown.append(served.raw(request.encode())[0])
            command = Path(f"/proc/{served.process.pid}/cmdline").read_bytes()
        texts = [command, *shown, served.log.read_bytes(), (tmp_path / "environ").read_bytes()]
    for canary in (CALLER, ADMIN):
        assert not any(canary.seen_in(text.decode("latin-1")) for text in texts)
    assert answers(shown[0])


class TestLogs:
    """What is written down of requests: never what they say, and nothing that could pass for another line."""

    async def test_prompts_and_answers_are_in_no_log(self, caplog):
        caplog.set_level(logging.INFO)
        from safety_rig import app_of

        with Upstream() as upstream:
            for status, body in ((200, None), (400, '{"error":{"message":"PROMPT-CANARY"}}'), (500, "PROMPT-CANARY")):
                upstream.answers_with(status, {}, body)
                async with app_of(upstream.url, keys=False) as app:
                    for stream in (False, True):
                        await ask_app(
                            app, "POST", CHAT, {}, [json.dumps(said("PROMPT-CANARY", stream=stream)).encode()]
                        )
        assert "PROMPT-CANARY" not in caplog.text
        assert "hello" not in caplog.text

    @pytest.mark.parametrize("nasty", ["a\r\nb", "\x1b[31mred", "\u2028x", "\x00", "\u202e"])
    async def test_no_line_is_forged(self, sieve, caplog, nasty):
        """Every line that a request can bring about, written out by the plainest formatter."""
        async with gateway_of(sieve, *always([answer(b"{}", 500)])) as app:
            for path, headers, body in (
                (f"/{nasty}", {}, said()),
                (CHAT, {"x-request-id": "ok"}, said(model=nasty)),
                (CHAT, {}, said(nasty, tools=nasty)),
                (CHAT, {}, {nasty: nasty}),
            ):
                await ask_and_look(sieve, "nasty", app, path=path, headers=headers, body=body)
        formatter = logging.Formatter("%(levelname)s %(name)s %(message)s")
        for record in caplog.records:
            if record.name.startswith("spillway"):
                assert not re.search(
                    r"[\x00-\x09\x0b-\x1f\x7f\u2028\u202e]", formatter.format(record).partition("Traceback")[0]
                )
                assert "\n" not in record.getMessage()

    @pytest.mark.parametrize("name", [b"a\x1b[31m", b"a b", b"x" * 129, b"\xe9", b""])
    async def test_a_request_id_that_is_no_name_is_not_taken(self, sieve, name):
        async with gateway_of(sieve, *always([answer(b"{}", 500)])) as app:
            rows = [(b"x-request-id", name), (b"authorization", f"Bearer {CALLER.reveal()}".encode())]
            got, _ = await ask_app(app, "GET", "/v1/models", rows)
            taken = got.headers["x-request-id"]
            assert taken == name.decode() if name == b"a b" else taken.startswith("req_")


async def test_a_door_that_fails_says_nothing_of_why(caplog):
    """A fault of ours is a line in the log and a bare 500."""
    from safety_rig import app_of

    class Broken:
        def __getattr__(self, name):
            raise RuntimeError(f"no {name} PROMPT-CANARY")

    with Upstream() as upstream:
        async with app_of(upstream.url, keys=False) as app:
            real, app.cluster = app.cluster, Broken()
            got, _ = await ask_app(app, "GET", "/v1/models")
            app.cluster = real
    assert (got.status, got.code) == (500, "server_error")
    assert "CANARY" not in got.body.decode()
    assert {record.levelname for record in caplog.records if record.name == "spillway.gateway"} == {"ERROR"}
    await asyncio.sleep(0)
