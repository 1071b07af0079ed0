"""What limits cost that processes share through a real Redis: the client's CPU a decision, the store's a sync.

A decision is a permit taken, sent and settled. What is added to it is the CPU of the whole process, its task that syncs
included, less that of the same decisions against limits of its own. Run alone: `python benchmarks/sharing.py`.
"""

import argparse
import asyncio
import shutil
import socket
import subprocess
import tempfile
import time

from rich.console import Console
from rich.table import Table

from spillway import RateLimits
from spillway.core.limit_store import AcquirePermit
from spillway.remote.rate_limit import RateLimiterActor, StrictRateLimiterActor
from spillway.runtime.loops import new_event_loop
from spillway.stores.redis import RedisStore
from spillway.stores.shared import Sharing

TICK_S = 0.005
SILENT_S = 2.0
SECONDS = 4.0
KINDS = {"own": 60.0, "strict": 6.0, "approximate": 60.0}
"""Each kind, and the window that it is measured with: an exact limit lets nobody through for the first one."""


class Redis:
    """A Redis of its own, and what it says it did between two looks."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        argv = [
            shutil.which("redis-server"),
            "--port",
            str(self.port),
            "--save",
            "",
            "--dir",
            folder,
            "--bind",
            "127.0.0.1",
        ]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        for _ in range(400):
            try:
                self.info()
                return
            except OSError:
                time.sleep(0.01)

    def info(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as conn:
            conn.sendall(b"INFO all\r\n")
            raw = b""
            while not raw.endswith(b"\r\n\r\n") and b"# Keyspace" not in raw:
                raw += conn.recv(1 << 20)
        found = {}
        for line in raw.decode().splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found[name] = value
        evals = dict(part.split("=") for part in found.get("cmdstat_evalsha", "calls=0,usec=0").split(","))
        return {
            "calls": int(evals["calls"]),
            "usec": int(evals["usec"]),
            "cpu": float(found["used_cpu_user"]) + float(found["used_cpu_sys"]),
            "bytes": int(found["total_net_input_bytes"]) + int(found["total_net_output_bytes"]),
        }


def limiter(kind, sharing, limit):
    limits = RateLimits(requests_per_minute=limit, tokens_per_minute=limit * 1000, strict=kind == "strict")
    if kind == "own":
        return RateLimiterActor("own", limits).handle()
    if kind == "strict":
        return StrictRateLimiterActor(sharing.node, limits, store=sharing.exact, key="bench").handle()
    return RateLimiterActor(sharing.node, limits, store=sharing.approximate, key="bench").handle()


async def decide(handle, per_s, seconds):
    """Take permits at a rate; return how many were given and refused."""
    want, given, refused = AcquirePermit(1, 100), 0, 0
    began = time.perf_counter()
    due = 0.0
    while (now := time.perf_counter() - began) < seconds:
        while due < now * per_s:
            due += 1
            permit = handle.take_or_wait(want)
            if isinstance(permit, float):
                refused += 1
            else:
                permit.sent()
                permit.reconcile(80)
                given += 1
        await asyncio.sleep(TICK_S)
    return given, refused


async def measure(kind, redis, *, nodes, per_s):
    """Have so many nodes take `per_s` permits a second each; all live in this process."""
    name, window_s = f"bench-{kind}-{nodes}-{per_s}", KINDS[kind]
    sharings = (
        []
        if kind == "own"
        else [
            Sharing(RedisStore(redis.url, name=name, window_s=window_s, silent_s=SILENT_S), time.monotonic)
            for _ in range(nodes)
        ]
    )
    handles = [limiter(kind, sharing, 60 * 10**6) for sharing in sharings or [None] * nodes]
    for sharing in sharings:
        await sharing.start()
    # A store that is new lets nobody through an exact limit for a window.
    await asyncio.gather(
        *(decide(handle, per_s, window_s + 1.2 * SILENT_S + 1.0 if kind == "strict" else 2.0) for handle in handles)
    )
    before, cpu, began = redis.info(), time.process_time(), time.perf_counter()
    told = await asyncio.gather(*(decide(handle, per_s, SECONDS) for handle in handles))
    took, spent, after = time.perf_counter() - began, time.process_time() - cpu, redis.info()
    for sharing in sharings:
        await sharing.aclose()
    calls = after["calls"] - before["calls"]
    return {
        "given": sum(given for given, _ in told),
        "refused": sum(refused for _, refused in told),
        "cpu_us": spent * 1e6 / max(1, sum(map(sum, told))),
        "syncs_s": calls / took / nodes,
        "script_us": (after["usec"] - before["usec"]) / max(1, calls),
        "calls": calls,
        "redis_s": after["cpu"] - before["cpu"],
        "bytes": (after["bytes"] - before["bytes"]) / max(1, calls),
    }


def run(*, nodes=1, per_s=1000, repeat=3):
    """Return what each kind of limits costs; the best of some runs, since others only add to it."""
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(folder)
        try:
            found = {}
            for kind in KINDS:
                runs = []
                for _ in range(repeat):
                    with asyncio.Runner(loop_factory=new_event_loop) as runner:
                        runs.append(runner.run(measure(kind, redis, nodes=nodes, per_s=per_s)))
                found[kind] = min(runs, key=lambda one: one["cpu_us"])
            for kind in KINDS:
                found[kind]["added_us"] = found[kind]["cpu_us"] - found["own"]["cpu_us"]
                # Without limits in it the store only answers how it is.
                spent = found[kind]["redis_s"] - found["own"]["redis_s"]
                found[kind]["redis_us"] = max(0.0, spent) * 1e6 / max(1, found[kind]["calls"])
            return found
        finally:
            redis.process.kill()
            redis.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 1000, 5000])
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 4, 16])
    args = parser.parse_args()
    table = Table(title="Shared limits through a Redis on this machine", title_justify="left")
    headings = (
        "limits",
        "nodes",
        "decisions/s of each",
        "refused",
        "client µs",
        "added µs",
        "syncs/s of each",
        "script µs",
        "Redis CPU µs a sync",
        "bytes a sync",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    asked = [(1, rate) for rate in args.rates] + [(nodes, 250) for nodes in args.nodes if nodes > 1]
    for nodes, per_s in asked:
        for kind, one in run(nodes=nodes, per_s=per_s, repeat=2).items():
            table.add_row(
                kind, str(nodes), str(per_s), str(one["refused"]), f"{one['cpu_us']:.1f}", f"{one['added_us']:.1f}",
                f"{one['syncs_s']:.1f}", f"{one['script_us']:.0f}", f"{one['redis_us']:.0f}", f"{one['bytes']:.0f}",
            )  # fmt: skip
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
