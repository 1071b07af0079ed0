"""Makes the folder's own modules importable, and serves one gateway for all tests of a module."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from safety_rig import Served, Upstream


@pytest.fixture(scope="module")
def upstream():
    """A provider that records what it is sent, on a thread of its own."""
    with Upstream() as one:
        yield one


@pytest.fixture(scope="module")
def served(upstream, tmp_path_factory):
    """A gateway as a process of its own, before that provider."""
    with Served(tmp_path_factory.mktemp("served"), upstream.url) as one:
        yield one


@pytest.fixture(scope="module", autouse=True)
def outlives_the_tests(request):
    """Have what a module shares there before the first of its tests looks at what was there."""
    for name in ("upstream", "served"):
        if any(name in item.fixturenames for item in request.session.items if item.module is request.module):
            request.getfixturevalue(name)
