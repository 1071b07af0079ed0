"""Batch processes are killed again and again: each line of each input has one line in the output."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from spillway.core.clock import sleep
from spillway.drill.found import Found, Promise
from spillway.drill.measuring import books, worst_window
from spillway.drill.nodes import BatchNode
from spillway.drill.plan import KILL, Fault, kills
from spillway.drill.processes import DrillError
from spillway.drill.scenarios.reading import merged, window_curve
from spillway.drill.scenarios.scenario import Scenario
from spillway.drill.sizes import Size
from spillway.drill.stage import Setting, Stage, batches

_OPTIONS = """\
[deployment.rate_limits]
requests_per_minute = {limit}
strict = true
[deployment.serving]
max_concurrent = 8
"""
_LOOK_S = 0.01
_NEXT_WITHIN_S = 30.0
_ALL_WITHIN_S = 900.0
_FEWEST, _MOST = 1, 10
"""Lines that a process writes before it is killed."""

_LATENCY_S = 0.06
"""The provider's: a kill finds requests under way."""


def _plan(seed: int, size: Size) -> tuple[Fault, ...]:
    return kills("kills", seed, nodes=size.nodes, count=size.kills, fewest=_FEWEST, most=_MOST)


def _name(node: int, line: int) -> str:
    return f"node-{node}-line-{line}"


def _written(node: BatchNode) -> list[str]:
    """Return the ids of all whole lines of an output."""
    if not node.output.exists():
        return []
    lines = node.output.read_bytes().splitlines(keepends=True)
    return [str(json.loads(line)["custom_id"]) for line in lines if line.endswith(b"\n")]


def _count(node: BatchNode) -> int:
    return node.output.read_bytes().count(b"\n") if node.output.exists() else 0


async def _kill(stage: Stage[BatchNode], node: BatchNode, faults: Sequence[Fault]) -> int:
    """Kill a process in the middle of its work and start it again, once for each fault; return how often it was."""
    done = 0
    for fault in faults:
        before, began_s = _count(node), stage.now()
        while node.program.running and _count(node) < before + fault.lines:
            if stage.now() > began_s + _NEXT_WITHIN_S:
                raise DrillError(f"node {node.number} has written nothing for {_NEXT_WITHIN_S:g} s")
            await sleep(_LOOK_S)
        if not node.program.running:
            break
        node.kill()
        stage.record(f"kill node {node.number}", kind=KILL)
        await node.start()
        done += 1
        stage.say(f"kill {done} of node {node.number}; {sum(map(_count, stage.nodes))} lines are written")
    return done


async def _killed(stage: Stage[BatchNode], faults: Sequence[Fault]) -> int:
    """Let all kills happen, those of different nodes beside each other; return how many did."""
    each = ([fault for fault in faults if fault.node == node.number] for node in stage.nodes)
    async with asyncio.TaskGroup() as tasks:
        doing = [tasks.create_task(_kill(stage, *pair)) for pair in zip(stage.nodes, each, strict=True)]
    return sum(task.result() for task in doing)


async def _play(setting: Setting, faults: Sequence[Fault]) -> Found:
    size = setting.size
    async with batches(setting, "kills", _OPTIONS.format(limit=size.limit), latency_s=_LATENCY_S) as stage:
        sent = []
        for node in stage.nodes:
            names = [_name(node.number, line) for line in range(1, size.lines + 1)]
            lines = (json.dumps({"id": name, "prompt": f"say {name}", "max_tokens": 16}) for name in names)
            node.input.write_text("".join(f"{line}\n" for line in lines))
            sent += names
            await node.start()
        done = await _killed(stage, faults)
        ended = await asyncio.gather(*(node.program.ended(_ALL_WITHIN_S) for node in stage.nodes))
        found = books(sent, [name for node in stage.nodes for name in _written(node)])
        codes = [node.program.code for node in stage.nodes]
        arrivals = await stage.arrivals()
        span_s = stage.now()
        times = merged(arrivals)
        worst = worst_window(times, size.window_s)
        return Found(
            name="kills",
            says=KILLS.says,
            faults=faults,
            promises=(
                Promise(
                    name="processes killed at work and started again",
                    promised=f"{len(faults)}",
                    measured=f"{done}",
                    holds=done == len(faults),
                ),
                Promise(
                    name="lines that are in the outputs once",
                    promised=f"all {len(sent)}",
                    measured=f"{found.once} ({found.repeated} twice, {found.missing} lost, {found.unknown} unknown)",
                    holds=found.balanced,
                ),
                Promise(
                    name="processes that ended well",
                    promised=f"all {len(codes)}",
                    measured=f"{sum(code == 0 for code in codes)}",
                    holds=all(ended) and not any(codes),
                ),
                Promise(
                    name="requests in the worst sliding window",
                    promised=f"at most {size.limit}",
                    measured=f"{worst.count}, at {worst.at_s:.2f} s",
                    holds=worst.count <= size.limit,
                ),
            ),
            remarks={
                "sent twice, as the answer was lost with a process": f"{len(times) - len(sent)}",
                **stage.stalls(),
            },
            events=tuple(stage.events),
            curves=(window_curve(times, size, span_s, bound=size.limit),),
            arrivals=arrivals,
            span_s=span_s,
        )


KILLS = Scenario(
    name="kills",
    says="Batch processes that share an exact limit are killed in the middle of their files and go on.",
    plan=_plan,
    play=_play,
)
