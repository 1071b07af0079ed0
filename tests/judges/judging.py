"""A judge is an official package in a venv of its own: it is given cases, and tells what its own parser made of each.

The order goes to its standard input as `{"url", "key", "cases": [{"name", …}]}`; its last line of output is a JSON object of
verdicts by case name. A verdict has `text`, `reasoning`, `calls`, `finish` and `usage`, or `error`, or what the case is about.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from runtimes import runner_of

from spillway.sim import SimConfig, Simulator
from spillway.testing.runner_probe import ask, batch_of

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-judges"
SCRIPTS = Path(__file__).parent / "scripts"
PATIENCE_S = 90.0


def tool(name):
    """The path of a program of the judges' venv."""
    path = VENV / "bin" / name
    if not path.exists():
        pytest.fail("the judges are not installed: run `make judges`", pytrace=False)
    return str(path)


def environment(**more):
    """What a judge's process sees: nothing of this one, and no way out of the machine but loopback."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(VENV),
        "NO_PROXY": "*",
        "no_proxy": "*",
        "PYTHONWARNINGS": "default",
        **more,
    }


async def judged(script, url, key, cases):
    """Give a judge its cases; return its verdicts."""
    judge = await asyncio.create_subprocess_exec(
        tool("python"),
        str(SCRIPTS / script),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
        cwd=SCRIPTS,
    )
    order = json.dumps({"url": url, "key": key, "cases": cases}).encode()
    try:
        out, err = await asyncio.wait_for(judge.communicate(order), PATIENCE_S)
    finally:
        if judge.returncode is None:
            judge.kill()
            await judge.wait()
    assert judge.returncode == 0, err.decode()[-4000:]
    verdicts = json.loads(out.splitlines()[-1])
    assert verdicts.keys() == {case["name"] for case in cases}
    return verdicts


def verdict_of(outcome):
    """What Spillway's runner made of a request, in a judge's words."""
    if outcome.error is not None:
        return {"error": outcome.error.status}
    tokens = outcome.tokens
    usage = tokens.usage
    return {
        "text": tokens.text,
        "reasoning": tokens.reasoning,
        "calls": [[call.id, call.name, json.loads(call.arguments)] for call in tokens.tool_calls],
        "usage": [usage.input_tokens, usage.output_tokens],
    }


KEY = "sk-test-1"
FAULTS = ("429", "429-retry-after=2", "insufficient-quota", "500", "503", "529", "401", "403", "context-length")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}


def case(name, door, asked, *, ours=None, **more):
    """One case: what the judge asks, and with `ours` the runtime and the fields with which Spillway asks the same."""
    return {"name": name, "door": door, "asked": asked, "ours": ours, **more}


def both_ways(name, door, asked, **more):
    """The same case whole and streamed."""
    return [case(f"{name}, {how}", door, asked, stream=how == "streamed", **more) for how in ("whole", "streamed")]


def hear(script, cases):
    """Have a judge and Spillway ask one simulator the same; return `(verdict, ours)` by case name."""
    return asyncio.run(_hear(script, cases))


async def _hear(script, cases):
    async with Simulator(SimConfig(seed=1)) as simulator:
        for_the_judge = [{key: value for key, value in one.items() if key != "ours"} for one in cases]
        verdicts = await judged(script, simulator.url, KEY, for_the_judge)
        return {one["name"]: (verdicts[one["name"]], await _ours(one, simulator.url)) for one in cases}


async def _ours(one, url):
    if one["ours"] is None:
        return None
    runtime, fields = one["ours"]
    runner = runner_of(runtime, url, model=one["asked"]["model"])
    try:
        if "counts" in fields or "inputs" in fields:
            handle = await runner.execute(batch_of(stream=False, **fields))
            chunks = [chunk async for read in handle for chunk in read]
            vectors = getattr(handle, "vectors", None)
            return {"vectors": vectors} if vectors else {"counted": chunks[-1].usage.input_tokens}
        return verdict_of(await ask(runner, stream=one.get("stream", False), fault=one.get("fault"), **fields))
    finally:
        await runner.aclose()


def agree(verdict, ours):
    """Require that the judge took everything without a word, and made of it what Spillway made of it."""
    assert verdict.pop("warnings") == []
    if ours is None:
        assert "error" not in verdict, verdict
        return
    if "error" in ours:
        assert verdict.get("error") == ours["error"], verdict
        return
    assert "error" not in verdict, verdict
    if "vectors" in ours:
        assert [list(vector) for vector in ours["vectors"]] == verdict["vectors"]
        return
    for theirs, mine in zip(verdict.get("calls", ()), ours.get("calls", ()), strict=True):
        # Where the provider names no call, Spillway gives it a name.
        assert mine[0]
        theirs[0] = theirs[0] or mine[0]
    assert {key: verdict[key] for key in ours} == ours
