"""`play(test, script, **options)`: a cluster of scripted deployments in virtual time."""

import pytest
from stage import perform


@pytest.fixture
def play():
    """Run `await test(world)` in virtual time, and check that nothing is held when it is over."""
    return perform
