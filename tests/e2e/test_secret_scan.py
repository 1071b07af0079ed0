"""Keys that are looked for in everything that is ever shown: logs, errors with all their frames, objects.

No eight characters of a key in a row may be found, whatever goes wrong.
"""

import asyncio
import base64
import contextlib
import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "faults"))

from canaries import BARE, KEYS, PROXY, Sieve, watching
from fault_table import FAULTS, steps_of
from matrix import DIALECTS, OPENAI, always, chunk, head, rig, sse

import spillway
from spillway.core.secrets import SecretRef
from spillway.testing.byte_server import ByteServer, Do, answer

SOURCES = ("given", "inline", "environment", "file", "command")
FLOODS = {"a body of 64 MiB and more", "a gzip bomb", "a gzip bomb of an event", "an event of 16 MiB and more"}


@pytest.fixture
def sieve(caplog, capfd):
    with watching(caplog, capfd) as found:
        yield found


@pytest.fixture
def keyed(tmp_path):
    """`keyed(dialect, source)`: the dialect with its canary from that source, and the environment that it needs."""

    def make(dialect, source="given", canary=None):
        canary = canary or KEYS[dialect.name]
        environ = {"NOT_FOR_YOU": BARE.reveal()}
        if source == "file":
            (tmp_path / "key").write_text(canary.reveal())
            ref = SecretRef(from_file=str(tmp_path / "key"))
        elif source == "command":
            (tmp_path / "key").write_text(canary.reveal())
            ref = SecretRef(from_command=("cat", str(tmp_path / "key")))
        elif source == "environment":
            environ["MY_KEY"] = canary.reveal()
            ref = SecretRef(from_env="MY_KEY")
        elif source == "inline":
            ref = SecretRef(inline=spillway.Secret(canary.reveal()))
        else:
            ref = spillway.Secret(canary.reveal())
        kinds = {
            "openai": spillway.OpenAiConfig,
            "anthropic": spillway.AnthropicConfig,
            "gemini": spillway.GeminiConfig,
        }
        root = (lambda url: url) if dialect is OPENAI else (lambda url: url.removesuffix("/v1"))
        return dialect._replace(config=lambda url: kinds[dialect.name](endpoint=root(url), api_key=ref)), environ

    return make


def test_sieve_holds_back_what_is_there():
    def fail(key):
        raise ValueError("no")

    text = PROXY.reveal()
    shown = [text[at : at + 8] for at in range(len(text) - 7)]
    shown += [base64.b64encode(("u" * n + ":" + text).encode()).decode() for n in range(1, 4)]
    for one in shown:
        found = Sieve(PROXY)
        found.look("here", f"some {one} text".encode())
        assert found.leaks == ["here"]
    found = Sieve(PROXY)
    with pytest.raises(ValueError) as caught:
        fail(text)
    found.look_at_error("here", caught.value)
    assert any(" local " in leak for leak in found.leaks)
    found = Sieve(PROXY)
    found.look("here", text[:7])
    found.nothing_seen()


async def ask_and_look(sieve, where, here, **options):
    outcome = await here.ask(timeout_s=options.pop("timeout_s", 0.5), **options)
    if outcome.error is not None:
        sieve.look_at_error(where, outcome.error)
    sieve.look(f"{where} answer", repr(outcome.tokens))
    look_at_public_objects(sieve, where, here)
    return outcome


def look_at_public_objects(sieve, where, here):
    deployed = here.cluster.deployment("m")
    sieve.look(f"{where} metrics", repr(here.cluster.metrics()))
    sieve.look(f"{where} deployed", f"{deployed!r} {deployed.workers()!r} {[s.runner for s in deployed.workers()]!r}")
    sieve.look(f"{where} records", repr(here.books.attempts + here.books.requests))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_every_fault_of_the_table(sieve, keyed, stream):
    dialect, environ = keyed(OPENAI)
    for name, fault in FAULTS.items():
        if fault.only not in (None, stream) or name in FLOODS:
            continue
        retry = spillway.RetryPolicy(max_retries=0)
        async with rig(*always(steps_of(fault, stream)), dialect=dialect, environ=environ, retry=retry) as here:
            outcome = await ask_and_look(sieve, name, here, stream=stream, timeout_s=0.1)
            assert outcome.error is not None


@pytest.mark.parametrize(
    ("dialect", "source"),
    [(OPENAI, source) for source in SOURCES]
    + [(dialect, "file") for dialect in DIALECTS.values() if dialect is not OPENAI],
    ids=lambda one: getattr(one, "name", one),
)
async def test_every_source_of_a_key(sieve, keyed, dialect, source):
    asyncio.get_running_loop().set_debug(True)
    wire, environ = keyed(dialect, source)
    unauthorized = answer(b'{"error": {"message": "no"}}', 401, {"content-type": "application/json"})
    broken = [head(stream=True) + chunk(dialect.before + dialect.content), 0.01, Do.RST]
    cases = {
        "good": [dialect.good(stream=True)],
        "401": [unauthorized],
        "broken": broken,
        "reset": [Do.RST],
        "stall": [Do.STALL],
        "rubbish": [b"HTTP/1.1 abc\r\n\r\n"],
    }
    for name, steps in cases.items():
        async with rig(*always(steps), dialect=wire, environ=environ) as here:
            await ask_and_look(sieve, f"{source} {name}", here, stream=True, timeout_s=1.0 if name != "stall" else 0.1)
            with contextlib.suppress(spillway.InferenceError):
                await here.cluster.deployment("m").rebuild_session()
            [runner] = {slot.runner for slot in here.cluster.deployment("m").workers()}
            sieve.look_at_object("runner", runner)
            sieve.look_at_object("session", runner.session)
            sieve.look_at_object("snapshot", runner.session.snapshot)
            sieve.look("headers", repr(runner.session.snapshot.prepared))
            sieve.look_at_pickle("headers", runner.session.snapshot.prepared)
            sieve.look_at_object("cluster", here.cluster)
            sieve.look_at_object("deployment", here.cluster.deployment("m"))
            sieve.look_at_object("options", here.cluster.deployment("m").options)
            sieve.look_at_object("runtime config", here.cluster.deployment("m").options.runtime_config)
            sieve.look_at_object("breaker", here.cluster.deployment("m").circuit_breaker())
            sieve.look_at_object("limiter", here.cluster.deployment("m").rate_limiter())


async def test_cancellations(sieve, keyed):
    for stream in (False, True):
        for steps in ([Do.STALL], [OPENAI.begun(stream=stream), Do.STALL]):
            async with rig([Do.READ, *steps], dialect=keyed(OPENAI)[0]) as here:
                task = here.task(stream=stream)
                while not here.requests:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.01)
                sieve.look("task", repr(task))
                for frame in task.get_stack():
                    sieve.look("frame", repr(frame.f_locals))
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError as error:
                    sieve.look_at_error("cancelled", error)


# A provider that quotes what it was sent.


class Parrot:
    """A server that answers with the head of what it was asked, as `say` puts it."""

    def __init__(self, say):
        self._say = say

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *error):
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            heard = await reader.readuntil(b"\r\n\r\n")
            [key] = [
                line.split(b": ", 1)[1].removeprefix(b"Bearer ")
                for line in heard.split(b"\r\n")
                if line.lower().startswith((b"authorization:", b"x-api-key:", b"x-goog-api-key:"))
            ]
            writer.write(self._say(key))
            await writer.drain()
            writer.close()
            await writer.wait_closed()


def as_json(status, text):
    return lambda key: answer(json.dumps({"error": {"message": text % key.decode()}}).encode(), status)


EVENTS = {"content-type": "text/event-stream"}
PARROTS = {
    "400": as_json(400, "the key %s is not liked"),
    "400, cut in the middle of it": as_json(400, "x" * 270 + " %s"),
    "400, body cut in the middle of it": as_json(400, "x" * 2000 + " %s"),
    "500": as_json(500, "cannot serve %s"),
    "429": as_json(429, "slow down, %s"),
    "403": as_json(403, "%s"),
    "200 with an error": as_json(200, "the key %s is not liked"),
    "200 with an error, cut": as_json(200, "x" * 270 + " %s"),
    "text": lambda key: answer(b"go away, " + key, 400),
    "a page": lambda key: answer(b"<html><title>" + key + b"</title>", 502, {"content-type": "text/html"}),
    "no JSON": lambda key: answer(b'{"choices": [' + key, headers={"content-type": "application/json"}),
    "no JSON, cut": lambda key: answer(b'{"choices": [' + b"x" * 170 + b" " + key, headers={"content-type": "application/json"}),
    "wrong types": lambda key: answer(json.dumps({"choices": key.decode()}).encode()),
    "redirect": lambda key: answer(b"", 302, {"location": "https://evil.test/" + key.decode()}),
    "status line": lambda key: b"HTTP/1.1 " + key + b"\r\n\r\n",
    "reason phrase": lambda key: b"HTTP/1.1 500 " + key + b"\r\ncontent-length: 0\r\n\r\n",
    "header": lambda key: b"HTTP/1.1 200 OK\r\n" + key + b" : \0\r\n\r\n",
    "chunk size": lambda key: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + key + b"\r\n",
    "coding": lambda key: answer(b"x", headers={"content-encoding": key.decode()}),
    "error event": lambda key: answer(sse({"error": {"message": key.decode(), "type": "server_error"}}), headers=EVENTS),
    "event that is no JSON": lambda key: answer(sse(b"{oops " + key), headers=EVENTS),
    "event that is no JSON, cut": lambda key: answer(sse(b"{oops " + b"x" * 170 + b" " + key), headers=EVENTS),
    "bare error after the events": lambda key: answer(
        OPENAI.before + b'{"error": {"message": "' + key + b'"}}', headers=EVENTS
    ),
    "error event after content": lambda key: answer(
        OPENAI.before + OPENAI.content + sse({"error": {"message": key.decode()}}), headers=EVENTS
    ),
}  # fmt: skip


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("case", PARROTS)
async def test_provider_that_quotes_the_key(sieve, keyed, case, stream):
    """Also a key that looks like none. What an answer's own bytes are is not looked at in the frames that read them."""
    for canary in (KEYS["openai"], BARE):
        dialect, environ = keyed(OPENAI, canary=canary)
        retry = spillway.RetryPolicy(max_retries=1, initial_backoff_s=0.001)
        async with (
            Parrot(PARROTS[case]) as parrot,
            rig(url=parrot.url, dialect=dialect, environ=environ, retry=retry) as here,
        ):
            error = (await here.ask(stream=stream, timeout_s=1.0)).error
            if error is None:
                continue
            left = [error]
            while left:
                one = left.pop()
                left += [e for e in (one.__cause__, one.__context__) if e is not None]
                sieve.look(case, f"{one} {one!r} {one.args!r} {getattr(one, '__notes__', '')!r}")
                sieve.look(case, repr(vars(one)))
                sieve.look_at_pickle(case, one)


# A proxy with a password.


@pytest.mark.parametrize("target", ["http", "https"])
async def test_password_of_a_proxy(sieve, keyed, target):
    dialect, environ = keyed(OPENAI)
    url = f"{target}://provider.test/v1"
    cases = {
        "407": [Do.READ_HEAD, b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n"],
        "502": [Do.READ_HEAD, b"HTTP/1.1 502 No\r\ncontent-length: 0\r\n\r\n"],
        "stall": [Do.READ_HEAD, Do.STALL],
        "reset": [Do.READ_HEAD, Do.RST],
        "closed": [Do.READ_HEAD, b"HTTP/1.1 200 Connection established\r\n\r\n", Do.FIN],
        "rubbish": [Do.READ_HEAD, bytes(range(256))],
    }
    for name, steps in cases.items():
        async with ByteServer(steps) as proxy:
            http = spillway.HttpConfig(proxy=f"http://user:{PROXY.reveal()}@127.0.0.1:{proxy.port}")
            limits = spillway.Timeouts(connect_timeout_s=0.5 if name == "stall" else 5.0)
            async with rig(url=url, dialect=dialect, environ=environ, http=http, timeouts=limits) as here:
                outcome = await ask_and_look(sieve, f"{target} {name}", here, stream=False)
                assert outcome.error is not None
                sieve.look_at_object("http options", http)
                sieve.look_at_object("options", here.cluster.deployment("m").options)
                [runner] = {slot.runner for slot in here.cluster.deployment("m").workers()}
                sieve.look_at_object("client", runner.session.snapshot.client)
            assert any(b"proxy-authorization" in bytes(c.received).lower() for c in proxy.conversations)
    async with rig(url=url, http=http, dialect=dialect, environ=environ) as here:
        await ask_and_look(sieve, f"{target} refused", here, stream=True)


# Keys that are no keys.


FORMS = {"two lines": "{}\n{}", "cut JSON": '{{"key": "{}', "NUL": "{}\0", "no UTF-8": "{}\udcff"}
UNUSABLE = [
    (source, form)
    for source in ("file", "environment", "command", "given")
    for form in FORMS
    if (source, form) != ("environment", "NUL")  # no variable can hold it
]


@pytest.mark.parametrize(("source", "form"), UNUSABLE)
async def test_credential_that_can_not_be_used(sieve, tmp_path, source, form):
    text = FORMS[form].format(KEYS["openai"].reveal(), KEYS["openai"].reveal())
    path = tmp_path / "key"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    refs = {
        "file": SecretRef(from_file=str(path)),
        "command": SecretRef(from_command=("cat", str(path))),
        "environment": SecretRef(from_env="MY_KEY"),
        "given": spillway.Secret(text),
    }
    config = spillway.OpenAiConfig(endpoint="http://127.0.0.1:1/v1", api_key=refs[source])
    async with rig(config=config, environ={"MY_KEY": text, "OTHER": BARE.reveal()}) as here:
        outcome = await ask_and_look(sieve, source, here, stream=False)
        assert outcome.error is not None


async def test_missing_key_shows_none_of_the_others(sieve):
    """An error about one variable's absence comes from where all are looked up."""
    config = spillway.OpenAiConfig(endpoint="http://127.0.0.1:1/v1", api_key=SecretRef(from_env="ABSENT"))
    options = spillway.Deployment(name="m", runtime="openai", runtime_config=config)

    async def start(variables):
        async with spillway.Cluster([options], environ=variables()):
            pass

    with pytest.raises(spillway.ConfigError) as caught:
        await start(lambda: Hidden({"OTHER": KEYS["openai"].reveal()}))
    sieve.look_at_error("missing", caught.value)


class Hidden(dict):
    """Variables that the test's own frames do not show."""

    def __repr__(self):
        return "<variables>"
