"""The actors of this process under the public suite."""

import pytest

from spillway.core.actor import ActorSystem
from spillway.testing import ACTOR_CHECKS, ActorSubject


@pytest.mark.parametrize("check", ACTOR_CHECKS, ids=lambda check: check.__name__)
async def test_a_local_actor(check):
    async with ActorSystem() as system:
        await check(ActorSubject(spawn=lambda factory, name: system.spawn(factory(), name), stop=system.stop))
