"""A command that yields no key in time: killed with what it started, in the CLI and in a Cluster, and nothing shown."""

import asyncio
import os
import pathlib
import subprocess
import sys
import time

import pytest

import spillway
from spillway.runtime.config import load

CANARY = "sk-QzJgHkQzJmNpQzJqRsQzJtUv"


@pytest.fixture
def project(tmp_path):
    script = tmp_path / "vault"
    script.write_text(f"#!/bin/sh\necho {CANARY} >&2\nsleep 77 &\necho $! >> {tmp_path}/children\nwait\n")
    script.chmod(0o755)
    (tmp_path / "spillway.toml").write_text(
        f'[[deployment]]\nname = "gpt-4o-mini"\nruntime_config = {{ api_key = {{ from_command = ["{script}"] }} }}\n'
    )
    return tmp_path


def lives(child):
    try:
        return pathlib.Path(f"/proc/{child}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


async def test_it_is_killed_after_ten_seconds_with_its_children(project):
    began = time.monotonic()
    check = asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "spillway", "check"],
        cwd=project, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    deployments = load(project / "spillway.toml").deployments
    async with spillway.Cluster(deployments, environ={}) as cluster:
        answer = cluster.generate("gpt-4o-mini", "Say hello", timeout_s=40.0)
        checked, refused = await asyncio.gather(check, answer, return_exceptions=True)
    assert 10.0 <= time.monotonic() - began < 30.0
    assert isinstance(refused, spillway.Unauthorized)
    assert "did not end within 10 s and was killed" in str(refused)
    assert checked.returncode == 2
    assert "did not end within 10 s and was killed" in checked.stderr
    for shown in (checked.stdout, checked.stderr, str(refused), repr(refused)):
        assert not any(CANARY[at : at + 8] in shown for at in range(len(CANARY) - 7))
    children = (project / "children").read_text().split()
    assert len(children) == 2
    assert not any(map(lives, children))
