"""The HTTP client keeps every promise of its port, on both event loops."""

import asyncio
import subprocess
import sys

import pytest
import uvloop

from spillway.core.options import HttpConfig, Timeouts
from spillway.remote.http import build_client
from spillway.testing.http_conformance import HttpClientConformance


class TestAiohttpClient(HttpClientConformance):
    def make_client(self, *, connect_timeout_s=1.0):
        return build_client(Timeouts(connect_timeout_s=connect_timeout_s), "conformance/1")


class TestPyqwestClient(HttpClientConformance):
    knows_used_connections = False

    def make_client(self, *, connect_timeout_s=1.0):
        return build_client(Timeouts(connect_timeout_s=connect_timeout_s), "conformance/1", http=HttpConfig(http2=True))


SUITES = [TestAiohttpClient, TestPyqwestClient]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("promise", [name for name in dir(HttpClientConformance) if name.startswith("test_")])
def test_on_uvloop(promise, suite):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(getattr(suite(), promise)())


def test_importing_the_port_does_not_import_the_library_behind_it():
    code = "import sys, spillway.remote.http; sys.exit(bool({'aiohttp', 'pyqwest'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
