"""`make bench`: everything that is measured, one table, each figure beside its target.

Throughputs are ratios within one run: Spillway and bare aiohttp take turns in one process, the server has the other core.
"""

import argparse
import platform

import big_run
import gateway
import parts
import throughput
from rich.console import Console
from rich.table import Table


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="a run of 1,000,000 lines instead of 100,000")
    args = parser.parse_args()
    table = Table(title=f"{platform.machine()}, Python {platform.python_version()}", title_justify="left")
    for heading in ("what", "measured", "target", ""):
        table.add_column(heading, justify="left" if heading in ("what", "") else "right")

    def row(what, measured, target, met):
        table.add_row(what, measured, target, "[green]met[/]" if met else "[red]missed[/]")
        Console(stderr=True).print(f"{what}: {measured} (target {target})", highlight=False)

    for loop in ("asyncio", "uvloop"):
        found = throughput.run(loop=loop)
        for kind, unit in (("unary", "requests/s"), ("stream", "events/s")):
            bare, ours = found[f"bare {kind}"], found[f"spillway {kind}"]
            row(
                f"{kind}, {loop}: {ours:,.0f} {unit}, bare aiohttp {bare:,.0f}",
                f"{ours / bare:.0%}",
                "≥ 60%",
                ours >= 0.6 * bare,
            )
    for loop in ("asyncio", "uvloop"):
        found = gateway.run(loop=loop)
        for kind, unit in (("unary", "requests/s"), ("stream", "events/s")):
            bare, ours = found[f"bare {kind}"], found[kind]
            row(
                f"gateway {kind}, {loop}: {ours:,.0f} {unit}, bare forwarder {bare:,.0f}",
                f"{ours / bare:.0%}",
                "≥ 60%",
                ours >= 0.6 * bare,
            )
        bare, ours = found["bare ms"], found["ms"]
        row(
            f"gateway, {loop}: p50 over one connection {ours:.2f} ms, bare forwarder {bare:.2f} ms",
            f"{ours / bare:.2f}×",
            "≤ 2×",
            ours <= 2 * bare,
        )
    kib, early, late = gateway.memory()
    row("gateway, 1,000 open streams", f"{kib:.0f} KiB each", "< 150 KiB", kib < 150)
    row(
        f"gateway, RSS after 20,000 requests {early:.0f} MB, after 100,000",
        f"{late:.0f} MB",
        "≤ +5%",
        late <= 1.05 * early,
    )
    events = parts.sse_events_per_second()
    row("SSE decoder, 150-byte events", f"{events:,.0f}/s", "≥ 1,000,000/s", events >= 1e6)
    cost = parts.decisions_us()
    row("queue, limiter and breaker decisions", f"{cost:.1f} µs", "< 10 µs", cost < 10)
    strict = parts.strict_us()
    row("a strict decision over Redis, above one in memory", f"{strict:.1f} µs of CPU", "≤ 15 µs", strict <= 15)
    more = parts.told_limit_us()
    row("a limit kept together by telling, more than one alone", f"{more:.1f} µs", "≤ 5 µs", more <= 5)
    ms = parts.import_ms()
    row("import spillway", f"{ms:.0f} ms", "< 100 ms", ms < 100)
    mb = parts.queued_mb()
    row("10,000 queued requests", f"{mb:.1f} MB", "< 40 MB", mb < 40)
    lines = 1_000_000 if args.full else 100_000
    rss, speed = big_run.measure_apart(lines)
    row(f"spillway run, {lines:,} lines at {speed:,.0f}/s", f"{rss:.0f} MB", "< 200 MB", rss < 200)
    Console().print(table)


if __name__ == "__main__":
    main()
