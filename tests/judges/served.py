"""A gateway in a process of its own, before simulators in the test's: what an official client is pointed at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request

from spillway.sim import Phase, Scenario, SimConfig, Simulator

KEY = "key-of-a-caller"
UPSTREAM = "sk-of-the-house"
STARTS_WITHIN_S = 60.0
BEHIND = {
    "openai": ("gpt-4o-mini", {"runtime": "openai"}, "/v1"),
    "responses": ("gpt-6-luna", {"runtime": "openai", "api": "responses"}, "/v1"),
    "anthropic": ("claude-haiku-4-5", {"runtime": "anthropic"}, ""),
    "gemini": ("gemini-2.5-flash", {"runtime": "gemini"}, ""),
    "litellm": ("gpt-4o-mini", {"runtime": "litellm"}, "/litellm/v1"),
    "litellm-claude": ("claude-opus-5-5", {"runtime": "litellm"}, "/litellm/v1"),
}
"""What the gateway has: the model, the runtime and its options, and the path of its endpoint."""


def table(name, model, options, url, **more):
    """Return one deployment as it stands in a project file."""
    runtime, own = options["runtime"], {key: value for key, value in options.items() if key != "runtime"}
    own |= {"endpoint": url, "api_key": {"inline": UPSTREAM}}
    lines = ["[[deployment]]", f"name = {json.dumps(name)}", f"model = {json.dumps(model)}"]
    lines += [f"runtime = {json.dumps(runtime)}", *(f"{key} = {json.dumps(value)}" for key, value in more.items())]
    lines += ["retry = { max_retries = 0 }", "[deployment.runtime_config]"]
    lines += [f"{key} = {_toml(value)}" for key, value in own.items()]
    return "\n".join(lines)


def _toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


@contextlib.asynccontextmanager
async def simulators(*faults):
    """Start a simulator that never fails, and one for each fault; give their addresses, the first under None."""
    async with contextlib.AsyncExitStack() as stack:
        running = {None: await stack.enter_async_context(Simulator(SimConfig(seed=1)))}
        for fault in faults:
            scenario = Scenario((Phase(fault=fault),))
            running[fault] = await stack.enter_async_context(Simulator(SimConfig(seed=1, scenario=scenario)))
        yield running


@contextlib.asynccontextmanager
async def gateway(folder, tables, *, admin="key-of-an-operator"):
    """Start a gateway of these deployments; give its root, and end it in order."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    head = f'[gateway]\nbind = "127.0.0.1:{port}"\nadmin_key = {{ inline = "{admin}" }}\n[[gateway.keys]]\nname = "caller"\nkey = {{ inline = "{KEY}" }}\n'
    config = folder / "spillway.toml"
    config.write_text("\n".join([head, *tables]) + "\n")
    command = [sys.executable, "-m", "spillway", "serve", "-c", str(config)]
    log = folder / "gateway.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out, env={**os.environ}, cwd=folder)
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while not await asyncio.to_thread(_ready, url):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield url
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                await process.wait()
    assert process.returncode == 0, log.read_text()


def _ready(url):
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=1.0) as answer:  # noqa: S310 # our own address
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
