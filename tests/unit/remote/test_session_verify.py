"""A rebuilt session is looked at before it takes the old one's place."""

import pytest

from spillway.core.errors import ConfigError, Unauthorized
from spillway.core.secrets import Secret
from spillway.remote.session import RemoteSessionActor, SessionConfig, StaticApiKey
from spillway.testing import run_virtual


class Client:
    closed = 0

    async def aclose(self):
        self.closed += 1


async def session_of(verdicts):
    """A session whose rebuilds are judged in turn, the clients it made, and those that were looked at."""
    clients, seen = [], []

    def build_client():
        clients.append(Client())
        return clients[-1]

    async def verify(client):
        seen.append(client)
        verdict = verdicts.pop(0)
        if verdict is not None:
            raise verdict

    config = SessionConfig(
        provider="litellm", credentials=StaticApiKey(Secret("k")), build_client=build_client, verify=verify
    )
    return await RemoteSessionActor.bootstrap(config), clients, seen


@pytest.mark.parametrize(
    ("verdict", "words"), [(ConfigError("nobody is there"), "nobody is there"), (OSError("x"), "OSError")]
)
def test_one_that_is_of_no_use_is_closed_and_the_old_one_stays(verdict, words):
    async def main():
        session, clients, seen = await session_of([verdict, None])
        assert seen == []
        with pytest.raises(Unauthorized, match=words) as failed:
            await session.rebuild(force=True)
        assert failed.value.reason == "rebuild_failed"
        assert (session.generation, [c.closed for c in clients], seen) == (1, [0, 1], [clients[1]])
        assert not session.refused
        await session.rebuild(force=True)
        assert (session.generation, seen) == (2, clients[1:])
        await session.aclose()
        assert [c.closed for c in clients] == [1, 1, 1]

    run_virtual(main())
