"""Schemathesis asks the gateway whatever its own description allows, and more: nothing is a 5xx, nothing passes without a key."""

import asyncio
import json

import pytest
from judging import environment, tool
from served import BEHIND, KEY, gateway, simulators, table

CHECKS = "not_a_server_error,ignored_auth"


async def scan(url, *options):
    """Run schemathesis over the description; return its exit code and what it said."""
    scanner = await asyncio.create_subprocess_exec(
        tool("schemathesis"),
        "run",
        f"{url}/openapi.json",
        *(
            "-H",
            f"Authorization: Bearer {KEY}",
            "-H",
            f"x-api-key: {KEY}",
            "--checks",
            CHECKS,
            "--seed",
            "7",
            "--no-color",
            *options,
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(),
    )
    try:
        out, _ = await asyncio.wait_for(scanner.communicate(), 240)
    finally:
        if scanner.returncode is None:
            scanner.kill()
            await scanner.wait()
    return scanner.returncode, out.decode()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("examples", [8, pytest.param(200, marks=pytest.mark.long)])
async def test_no_5xx_and_nothing_without_a_key(tmp_path, examples):
    async with simulators() as running:
        tables = [
            table(name, *BEHIND[name][:2], running[None].url + BEHIND[name][2]) for name in ("openai", "anthropic")
        ]
        async with gateway(tmp_path, tables) as url:
            code, said = await scan(url, "--max-examples", str(examples))
    assert code == 0, said[-4000:]
    generated = int(said.rpartition("Test cases:")[2].split()[0].replace(",", ""))
    assert generated > 500, said[-2000:]
    records = [json.loads(line) for line in (tmp_path / "gateway.log").read_text().splitlines() if line.startswith("{")]
    requests = [record for record in records if record.get("event") == "request"]
    assert {record["status"] // 100 for record in requests} >= {2, 4}
    assert [record for record in requests if record["status"] >= 500 and record["door"] != "readyz"] == []
    assert [record for record in records if record["level"] == "error"] == []
