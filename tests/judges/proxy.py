"""A LiteLLM proxy from its own package, on loopback, before mocks of its own and before a simulator."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from judging import environment, tool

MASTER_KEY = "sk-master-1"
STARTS_WITHIN_S = 90.0
FAULTS = (
    "429",
    "insufficient-quota",
    "500",
    "503",
    "401",
    "403",
    "content-filter",
    "context-length",
    "error-event-mid-stream",
)


class Proxy:
    """A running proxy.

    Attributes:
        url: its root.
        log: the file that it writes to.
    """

    def __init__(self, url, log):
        self.url = url
        self.log = log


@contextlib.contextmanager
def running(folder):
    """Start a simulator and a proxy before it; end both."""
    with contextlib.ExitStack() as stack:
        simulated = stack.enter_context(
            _process([sys.executable, "-m", "spillway", "sim", "--port", "0", "--latency-s", "0"], folder / "sim.log")
        )
        root = _told(folder / "sim.log", r"listening on (http://\S+)", simulated)
        config = folder / "config.json"
        config.write_text(json.dumps(_config(root)))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [tool("litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        process = stack.enter_context(_process(command, folder / "proxy.log", quiet=True))
        proxy = Proxy(f"http://127.0.0.1:{port}", folder / "proxy.log")
        _until_alive(proxy, process)
        yield proxy


def _config(root):
    plain = {"api_key": "sk-behind"}
    mocks = {
        "gpt-4o-mini": {"model": "openai/gpt-4o-mini", "mock_response": "Hello from the proxy."},
        "of-the-house": {"model": "openai/gpt-4o-mini", "mock_response": "Hello from the proxy."},
        "priceless": {"model": "openai/no-such-model-anywhere", "mock_response": "free of price"},
        "embedder": {"model": "openai/text-embedding-3-small", "mock_response": [0.25, -0.5]},
        "limited": {"model": "openai/gpt-4o-mini", "mock_response": "litellm.RateLimitError"},
        "failing": {"model": "openai/gpt-4o-mini", "mock_response": "litellm.InternalServerError"},
        "overflowing": {"model": "openai/gpt-4o-mini", "mock_response": "litellm.ContextWindowExceededError"},
        "nowhere": {"model": "openai/gpt-4o-mini", "api_base": "http://127.0.0.1:9/v1"},
    }
    behind = {
        "sim-openai": {"model": "openai/gpt-4o-mini", "api_base": f"{root}/v1"},
        "sim-claude": {"model": "anthropic/claude-sonnet-4-5", "api_base": root},
    }
    faulty = {f"sim-{fault}": {**behind["sim-openai"], "extra_headers": {"x-sim-fault": fault}} for fault in FAULTS}
    models = {**mocks, **behind, **faulty}
    return {
        "model_list": [{"model_name": name, "litellm_params": {**plain, **params}} for name, params in models.items()],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": MASTER_KEY},
    }


@contextlib.contextmanager
def _process(command, log, *, quiet=False):
    env = (
        environment(LITELLM_LOCAL_MODEL_COST_MAP="True", DISABLE_ADMIN_UI="True", NO_DOCS="True")
        if quiet
        else {**os.environ}
    )
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env, start_new_session=True
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5.0)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)


def _told(log, pattern, process):
    ends = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends and process.poll() is None:
        found = re.search(pattern, log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text()[-2000:])


def _until_alive(proxy, process):
    ends = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < ends and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{proxy.url}/health/liveliness", timeout=5.0) as told,
        ):
            assert told.read() == b'"I\'m alive!"'
            return
        time.sleep(0.2)
    raise AssertionError(f"no proxy within {STARTS_WITHIN_S:g} s: {proxy.log.read_text()[-4000:]}")
