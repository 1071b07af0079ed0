"""The gateway beside a bare forwarder: `spillway serve` with every policy on, both asked in turns by the same load.

Each server has one core, the load and the provider have the other. What counts is the ratio.
"""

import asyncio
import contextlib
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import load

HERE = pathlib.Path(__file__).parent
CONFIG = """
[gateway]
bind = "127.0.0.1:{port}"
admin_key = {{ inline = "key-admin" }}
[[gateway.keys]]
name = "bench"
key = {{ inline = "key-bench" }}
requests_per_minute = 100_000_000
tokens_per_minute = 100_000_000_000
max_spend_per_day_usd = 1_000_000.0
models = ["gpt-*"]
[[gateway.keys]]
name = "other"
key = {{ inline = "key-other" }}
[[deployment]]
name = "gpt-4o-mini"
fallback = ["gpt-4o"]
[deployment.runtime_config]
endpoint = "{upstream}"
api_key = {{ inline = "sk-bench" }}
[deployment.rate_limits]
requests_per_minute = 100_000_000
tokens_per_minute = 100_000_000_000
[deployment.budget]
max_spend_per_day_usd = 1_000_000.0
[deployment.serving]
max_concurrent = 4096
[deployment.pricing]
input_per_mtok_usd = 0.15
output_per_mtok_usd = 0.6
[[deployment]]
name = "gpt-4o"
[deployment.runtime_config]
endpoint = "{upstream}"
api_key = {{ inline = "sk-bench" }}
"""
GATEWAY = """
import sys
if sys.argv[1] == "asyncio":
    sys.modules["uvloop"] = None
sys.argv = ["spillway", "serve", "-c", sys.argv[2]]
from spillway.cli.main import main
main()
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, core):
    """A process on one core; killed after."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    os.sched_setaffinity(process.pid, {core})
    for task in os.listdir(f"/proc/{process.pid}/task"):
        os.sched_setaffinity(int(task), {core})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()


def listening(port):
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not come up")
        time.sleep(0.1)


def rss_mb(process):
    with open(f"/proc/{process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def servers(loop, core):
    """The provider, the bare forwarder and the gateway, as `(forwarder, port), (gateway, port)`."""
    other = next(each for each in sorted(os.sched_getaffinity(0)) if each != core)
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(running([sys.executable, str(HERE / "server.py")], other))
        upstream = f"http://127.0.0.1:{provider.stdout.readline().strip()}/v1"
        bare_port, port = free_port(), free_port()
        bare = stack.enter_context(
            running([sys.executable, str(HERE / "forwarder.py"), str(bare_port), upstream, loop], core)
        )
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        config = pathlib.Path(folder, "spillway.toml")
        config.write_text(CONFIG.format(port=port, upstream=upstream))
        gateway = stack.enter_context(running([sys.executable, "-c", GATEWAY, loop, str(config)], core))
        listening(bare_port)
        listening(port)
        yield (bare, bare_port), (gateway, port)


async def in_turns(bare_port, port, rounds, unary_total, stream_total, alone_total):
    found = {name: [] for name in ("bare unary", "unary", "bare stream", "stream", "bare ms", "ms")}
    for _ in range(rounds):
        for prefix, at in (("bare ", bare_port), ("", port)):
            found[f"{prefix}unary"].append((await load.rate(at, load.BODY, unary_total))[0])
            answers, events = await load.rate(at, load.STREAM_BODY, stream_total)
            assert events >= 198, events
            found[f"{prefix}stream"].append(answers * events)
            found[f"{prefix}ms"].append(await load.latency_ms(at, load.BODY, alone_total))
    return {name: statistics.median(values) for name, values in found.items()}


def run(loop="uvloop", rounds=5, unary_total=6000, stream_total=400, alone_total=600):
    """Return requests/s, events/s and the p50 in ms over one connection, of both."""
    cores = sorted(os.sched_getaffinity(0))
    with servers(loop, cores[0]) as ((_, bare_port), (_, port)):
        os.sched_setaffinity(0, {cores[-1]})
        try:
            asyncio.run(in_turns(bare_port, port, 1, unary_total // 4, stream_total // 4, 50))
            found = asyncio.run(in_turns(bare_port, port, rounds, unary_total, stream_total, alone_total))
        finally:
            os.sched_setaffinity(0, set(cores))
    return found


def memory(loop="uvloop", streams=1000, requests=100_000):
    """Return KiB per open stream, and RSS in MB after a fifth of the requests and after all."""
    cores = sorted(os.sched_getaffinity(0))
    with servers(loop, cores[0]) as (_, (gateway, port)):

        async def measure():
            await load.rate(port, load.BODY, 2000)
            before = rss_mb(gateway)
            held = await load.hold(port, streams)
            await asyncio.sleep(1)
            kib = 1024 * (rss_mb(gateway) - before) / streams
            for connection in held:
                connection.leave()
            await load.rate(port, load.BODY, requests // 5)
            early = rss_mb(gateway)
            await load.rate(port, load.BODY, requests - requests // 5)
            return kib, early, rss_mb(gateway)

        return asyncio.run(measure())


if __name__ == "__main__":
    for loop in sys.argv[1:] or ["asyncio", "uvloop"]:
        found = run(loop=loop)
        for name, value in found.items():
            print(f"{loop:8} {name:12} {value:12,.2f}")
        for name in ("unary", "stream", "ms"):
            print(f"{loop:8} {name} ratio {found[name] / found['bare ' + name]:.2f}")
