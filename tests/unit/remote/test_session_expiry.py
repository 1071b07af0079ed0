"""Tokens that end: fetched again in time, once for all, and nobody waits who need not."""

import asyncio
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.core.errors import ConfigError, NetworkError, Unauthorized
from spillway.core.secrets import Secret
from spillway.remote.session import RemoteSessionActor, SessionConfig, StaticApiKey, Token
from spillway.remote.session.expiry import Refreshing, Windows, windows_of
from spillway.testing import run_virtual

MINUTE = 60.0


class Client:
    def __init__(self):
        self.closed = 0

    async def aclose(self):
        self.closed += 1


class Issuer:
    """Hands out tokens that last an hour, after `takes_s`; an exception in `fails` is raised instead."""

    place = "the issuer"

    def __init__(self, lasts_s=60 * MINUTE):
        self.lasts_s = lasts_s
        self.takes_s = 0.0
        self.fails = None
        self.same = False
        self.reads = []

    async def token(self):
        loop = asyncio.get_running_loop()
        self.reads.append(loop.time())
        if self.takes_s:
            await asyncio.sleep(self.takes_s)
        if self.fails is not None:
            raise self.fails
        number = 1 if self.same else len(self.reads)
        return Token(f"token-{number}", expires_at=loop.time() + self.lasts_s)


async def session_of(issuer, clients=None, **options):
    made = [] if clients is None else clients

    def build_client():
        made.append(Client())
        return made[-1]

    options = {"refresh_early_s": 15 * MINUTE, "refresh_late_s": 10 * MINUTE} | options
    return await RemoteSessionActor.bootstrap(
        SessionConfig(provider="gemini", deployment="d", credentials=issuer, build_client=build_client, **options)
    )


async def ask(session):
    """One request: its token, and how long it had to wait for it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    if session.expires:
        await session.fresh()
    return session.snapshot.secret.reveal(), loop.time() - began


def play(test, issuer=None, **options):
    async def main():
        source = issuer or Issuer()
        session = await session_of(source, **options)
        began = asyncio.get_running_loop().time()

        async def until(minutes, seconds=0.0):
            await asyncio.sleep(began + minutes * MINUTE + seconds - asyncio.get_running_loop().time())

        try:
            await test(session, source, until)
        finally:
            await session.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run_virtual(main())


async def asked(session, count):
    return await asyncio.gather(*(ask(session) for _ in range(count)), return_exceptions=True)


def test_in_the_early_window_one_fetches_in_the_background_and_nobody_waits():
    async def test(session, issuer, until):
        issuer.takes_s = 2.0
        await until(44, 59)
        assert await asked(session, 100) == [("token-1", 0.0)] * 100
        assert len(issuer.reads) == 1
        await until(45, 1)
        assert await asked(session, 100) == [("token-1", 0.0)] * 100
        assert len(issuer.reads) == 2
        await until(45, 4)
        assert await asked(session, 100) == [("token-2", 0.0)] * 100
        assert (session.generation, len(issuer.reads)) == (2, 2)

    play(test)


def test_in_the_late_window_all_wait_for_the_one_new_token():
    async def test(session, issuer, until):
        issuer.takes_s = 2.0
        await until(50, 1)
        assert await asked(session, 100) == [("token-2", 2.0)] * 100
        assert len(issuer.reads) == 2

    play(test)


def test_one_who_leaves_while_all_wait_does_not_take_the_token_from_the_others():
    async def test(session, issuer, until):
        issuer.takes_s = 2.0
        await until(50, 1)
        first, second = asyncio.create_task(ask(session)), asyncio.create_task(ask(session))
        await asyncio.sleep(1.0)
        first.cancel()
        assert await second == ("token-2", 2.0)

    play(test)


def test_a_failure_in_the_early_window_keeps_the_token_and_is_logged_once_in_a_while(caplog):
    caplog.set_level(logging.WARNING, "spillway.session")

    async def test(session, issuer, until):
        issuer.fails = ConfigError("the issuer is down")
        await until(45)
        for _ in range(240):
            assert await asked(session, 3) == [("token-1", 0.0)] * 3
            await asyncio.sleep(1.0)
        gaps = [b - a for a, b in zip(issuer.reads[1:], issuer.reads[2:], strict=False)]
        assert gaps == sorted(gaps)  # backoff
        assert gaps[0] == pytest.approx(1.0)
        assert gaps[-1] >= 59.0
        assert 2 <= len(caplog.records) <= 5
        assert "the issuer is down" in caplog.text
        assert "token-1" not in caplog.text
        issuer.fails = None
        await asyncio.sleep(61.0)
        await ask(session)
        await asyncio.sleep(0.1)
        assert session.generation == 2

    play(test)


def test_a_failure_in_the_late_window_refuses_at_once_and_is_tried_again_once_a_second():
    async def test(session, issuer, until):
        issuer.fails = NetworkError("no route")
        await until(50, 1)
        began = len(issuer.reads)
        for _ in range(20):
            for outcome in await asked(session, 5):
                assert isinstance(outcome, Unauthorized)
                assert outcome.reason == "rebuild_failed"
                assert (outcome.provider, outcome.deployment) == ("gemini", "d")
            await asyncio.sleep(0.5)
        assert 9 <= len(issuer.reads) - began <= 11
        issuer.fails = None
        await asyncio.sleep(1.0)
        token, waited = await ask(session)
        assert (token, waited, session.generation) == (f"token-{len(issuer.reads)}", 0.0, 2)

    play(test)


def test_a_source_that_hangs_in_the_late_window_costs_five_seconds_and_no_more():
    async def test(session, issuer, until):
        issuer.takes_s = 3600.0
        await until(50, 1)
        began = asyncio.get_running_loop().time()
        outcomes = await asked(session, 50)
        assert all(isinstance(outcome, Unauthorized) for outcome in outcomes)
        assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
        assert "within 5 s" in str(outcomes[0])
        assert len(issuer.reads) == 2

    play(test)


def test_a_refused_token_is_fetched_anew_whatever_is_left_of_its_time():
    async def test(session, issuer, until):
        await until(10)
        refused = Unauthorized("401")
        refused.generation = 1
        snapshots = await asyncio.gather(*(session.rebuild(refused) for _ in range(1000)))
        assert {one.generation for one in snapshots} == {2}
        assert len(issuer.reads) == 2
        assert await ask(session) == ("token-2", 0.0)
        await until(50)
        assert await ask(session) == ("token-2", 0.0)  # its hour began ten minutes later

    play(test)


def test_a_refusal_during_the_fetch_waits_for_it():
    async def test(session, issuer, until):
        issuer.takes_s = 2.0
        await until(46)
        await ask(session)
        refused = Unauthorized("401")
        refused.generation = 1
        assert (await session.rebuild(refused)).generation == 2
        assert len(issuer.reads) == 2

    play(test)


def test_a_source_that_yields_the_same_token_is_asked_again_with_backoff():
    async def test(session, issuer, until):
        issuer.same = True
        await until(45, 1)
        for _ in range(10):
            assert await ask(session) == ("token-1", 0.0)
            await asyncio.sleep(0.5)
        assert 3 <= len(issuer.reads) <= 5
        assert not session.refused

    play(test)


def test_what_is_in_flight_keeps_its_token_and_its_connections():
    clients = []

    async def main():
        issuer = Issuer()
        session = await session_of(issuer, clients)
        streams = [session.snapshot.acquire() for _ in range(20)]
        await asyncio.sleep(51 * MINUTE)
        await ask(session)
        assert {(one.generation, one.secret.reveal()) for one in streams} == {(1, "token-1")}
        assert [one.closed for one in clients] == [0, 0]
        for one in streams:
            one.release()
        await asyncio.sleep(0.1)
        assert [one.closed for one in clients] == [1, 0]
        await session.aclose()

    run_virtual(main())


def test_every_field_of_a_snapshot_is_of_one_generation_through_many_refreshes():
    async def main():
        issuer = Issuer(lasts_s=2.0)
        session = await session_of(
            issuer, prepare=lambda secret: {"authorization": secret.reveal()}, refresh_early_s=1.0, refresh_late_s=0.5
        )
        seen = set()
        for _ in range(2000):
            await session.fresh()
            snapshot = session.snapshot
            assert snapshot.prepared["authorization"] == snapshot.secret.reveal()
            assert snapshot.secret.expires_at > asyncio.get_running_loop().time()
            seen.add(snapshot.generation)
            await asyncio.sleep(0.05)
        assert len(seen) > 50
        await session.aclose()

    run_virtual(main())


def test_a_credential_without_an_end_costs_nothing():
    async def main():
        session = await session_of(StaticApiKey("k"))
        assert not session.expires
        assert await session.fresh() is session.snapshot
        await session.aclose()

    run_virtual(main())


def test_a_closed_session_fetches_nothing():
    async def main():
        issuer = Issuer()
        session = await session_of(issuer)
        await asyncio.sleep(51 * MINUTE)
        await session.aclose()
        with pytest.raises(NetworkError):
            await session.fresh()
        assert len(issuer.reads) == 1

    run_virtual(main())


@given(st.floats(0.0, 1e5), st.floats(0.0, 1e4), st.floats(0.0, 1e4), st.floats(0.0, 1e4))
def test_the_windows_are_in_order_and_within_the_tokens_life(now, life, early, late):
    late, early = sorted((late, early))
    found = windows_of((Secret("a"), Token("b", expires_at=now + life)), now, early_s=early, late_s=late)
    slack = 1e-6 * (1.0 + now + life)
    assert now + life / 2 - slack <= found.early_at <= found.late_at + slack
    assert found.late_at <= now + life + slack
    assert windows_of((Secret("a"),), now, early_s=early, late_s=late) == Windows()


def test_the_log_and_the_backoff_have_bounds():
    state = Refreshing()
    assert state.may_try(0.0, late=False)
    assert [state.failed(now) for now in (0.0, 30.0, 59.0, 61.0)] == [True, False, False, True]
    for now in range(100, 2000):
        state.failed(float(now))
    assert not state.may_try(2058.0, late=False)
    assert state.may_try(2059.1, late=False)
    assert state.may_try(2000.1, late=True)
    assert repr(state).endswith("failures>")
    state.succeeded()
    assert state.failures == 0


def test_a_token_shows_itself_no_more_than_any_secret():
    token = Token("ya29.canary", expires_at=1.0)
    assert "canary" not in f"{token!r}{token}{[token]}"
    assert token == Token("ya29.canary", expires_at=2.0) == Secret("ya29.canary")
    with pytest.raises(TypeError):
        pickle.dumps(token)
