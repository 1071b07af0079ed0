"""Gateway keys: those of the state file while a gateway runs, those of the project file when it changes."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tenants_stage import Reply, Stage, deployment, key, play

from spillway.core.errors import ConfigError
from spillway.core.secrets import Secret
from spillway.gateway.callers import Callers
from spillway.stores.sqlite import KeyFile, KeyLimits
from spillway.testing import ManualClock, ScriptedRunner


class Running:
    """A gateway with a state file, and the file as `spillway keys` has it."""

    def __init__(self, folder, keys=()):
        self.path = folder / "s.db"
        self.stage = Stage(
            {"m": ScriptedRunner((Reply(text="hi"),))}, [deployment()], [key(k) for k in keys], state=self.path
        )

    async def __aenter__(self):
        await self.stage.cluster.start()
        assert self.stage.app.callers is not None
        return self

    async def __aexit__(self, *_):
        await self.stage.cluster.aclose()

    def change(self, what):
        with KeyFile(self.path) as file:
            return what(file)

    async def status(self, secret=None):
        headers = [] if secret is None else [("authorization", f"Bearer {secret.reveal()}")]
        return (await self.stage.http("GET", "/v1/models", headers=headers)).status

    async def becomes(self, secret, status):
        """Return the seconds until the key is answered so."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while await self.status(secret) != status:
            assert loop.time() < began + 5
            await asyncio.sleep(0.01)
        return loop.time() - began


async def test_a_running_gateway_takes_keys_up_and_drops_them_within_two_seconds(tmp_path):
    async with Running(tmp_path, keys=("file",)) as here:
        first = here.change(lambda f: f.create("team", KeyLimits(models=("m",))))
        assert await here.becomes(first, 200) < 2
        second = here.change(lambda f: f.rotate("team"))
        assert await here.becomes(second, 200) < 2
        assert await here.status(first) == 401
        here.change(lambda f: f.revoke("team"))
        assert await here.becomes(second, 401) < 2
        assert await here.status(Secret("key-file")) == 200


async def test_an_open_gateway_closes_with_its_first_key_and_stays_closed(tmp_path):
    async with Running(tmp_path) as here:
        assert await here.status() == 200
        secret = here.change(lambda f: f.create("team", KeyLimits()))
        assert await here.becomes(secret, 200) < 2
        assert await here.becomes(None, 401) < 2
        here.change(lambda f: f.revoke("team"))
        assert await here.becomes(secret, 401) < 2
        assert await here.status() == 401
    async with Running(tmp_path) as here:
        assert await here.status() == 401


async def test_what_is_under_way_with_a_key_that_is_revoked_is_finished(tmp_path):
    async with Running(tmp_path, keys=("file",)) as here:
        here.stage.runners["m"]._script = (Reply(text="abc", chunks=3, delay_s=1.5),)
        secret = here.change(lambda f: f.create("team", KeyLimits()))
        await here.becomes(secret, 200)
        body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
        headers = [("authorization", f"Bearer {secret.reveal()}")]
        asking = asyncio.create_task(here.stage.http("POST", "/v1/chat/completions", body, headers))
        await asyncio.sleep(0)
        here.change(lambda f: f.revoke("team"))
        await here.becomes(secret, 401)
        assert not asking.done()
        answer = await asking
        assert answer.status == 200
        assert answer.body.endswith(b"data: [DONE]\n\n")


async def test_limits_of_a_key_in_the_state_file_hold_and_its_spend_survives_rotation(tmp_path):
    async with Running(tmp_path, keys=("file",)) as here:
        limits = KeyLimits(max_spend_per_day_usd=0.00006, models=("m",), max_priority="high")
        secret = here.change(lambda f: f.create("team", limits))
        await here.becomes(secret, 200)
        (caller,) = (c for c in here.stage.app.callers.every if c.name == "team")
        assert (caller.name, caller.settings.max_priority) == ("team", "high")

        async def ask(with_):
            body = b'{"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "a"}]}'
            headers = [("x-api-key", with_.reveal())]
            return await here.stage.http("POST", "/v1/chat/completions", body, headers)

        assert [(await ask(secret)).status for _ in range(3)] == [200, 200, 402]
        new = here.change(lambda f: f.rotate("team", grace_s=60))
        await here.becomes(new, 200)
        assert (await ask(new)).limited_by == (await ask(secret)).limited_by == "key"


async def test_a_key_is_known_until_it_expires(tmp_path, monkeypatch):
    async with Running(tmp_path, keys=("file",)) as here:
        now = datetime.now(UTC)
        secret = here.change(lambda f: f.create("team", KeyLimits(), expires_at=int(now.timestamp()) + 60))
        await here.becomes(secret, 200)
        monkeypatch.setattr("spillway.gateway.callers.wall_now", lambda: now + timedelta(seconds=61))
        assert await here.status(secret) == 401


def test_other_keys_of_the_file_keep_windows_and_spend_of_those_that_stay():
    async def test(stage):
        for _ in range(2):
            assert (await stage.ask()).status == 200
        callers = stage.app.callers
        callers.replace([key("a", requests_per_minute=2), key("c")])
        refused = await stage.ask()
        assert (refused.status, refused.limited_by) == (429, "key")
        assert (await stage.ask("b")).status == 401
        assert (await stage.ask("c")).status == 200
        # A cap that comes later counts from then on what nobody counted before; one that changes keeps its window.
        callers.replace([key("a", max_spend_per_day_usd=1.0)])
        assert (await stage.ask()).status == 200
        callers.replace([key("a", max_spend_per_day_usd=0.00002)])
        spent = await stage.ask()
        assert (spent.status, spent.limited_by) == (402, "key")
        callers.replace([key("a", models=("x",))])
        assert (await stage.ask()).status == 404

    play(test, keys=[key("a", requests_per_minute=100), "b"])


def test_two_names_for_one_key_are_refused_and_nothing_changes():
    async def test(stage):
        twice = [key("a"), (key("z")[0], Secret("key-a"))]
        with pytest.raises(ConfigError, match="the gateway keys 'a' and 'z' are the same key"):
            stage.app.callers.replace(twice)
        assert (await stage.ask("b")).status == 200

    play(test)


def test_ten_thousand_keys_are_looked_up_as_fast_as_one():
    clock = ManualClock()
    many = Callers([key(f"k{n}") for n in range(10_000)], clock)
    few = Callers([key("k7")], clock)
    rounds = 2000

    def took(callers, name):
        import timeit

        headers = {"authorization": f"Bearer key-{name}"}
        return min(timeit.repeat(lambda: callers.identify(headers, ()), number=rounds, repeat=5)) / rounds

    assert took(many, "k7") < 3 * took(few, "k7") + 5e-6
    assert many.identify({"x-api-key": "key-k9999"}, ()).name == "k9999"


async def test_a_key_of_both_files_is_the_project_files(tmp_path, caplog):
    with KeyFile(tmp_path / "s.db", make=True) as file:
        stored = file.create("file", KeyLimits())
    async with Running(tmp_path, keys=("file",)) as here:
        assert await here.status(Secret("key-file")) == 200
        assert await here.status(stored) == 401
        assert "the key 'file' of the state file is ignored" in caplog.text
