"""Schemathesis asks a gateway everything that its own description allows, and much that it does not.

Left out are its two checks that valid bodies are taken and invalid ones refused: which values a field may have is the
provider's to say, and the gateway passes it on.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from judging import environment, tool

sys.path.insert(0, str(Path(__file__).parents[1] / "gateway" / "safety"))

from safety_rig import ADMIN_KEY, BEARER, KEY, Served

from spillway.sim import SimConfig, Simulator

ENDLESS = ("/admin/events",)
MODELS = ["gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash", "house"]


def described(served):
    """The gateway's description, in which models have the names that there are."""
    told = served.ask("GET", "/openapi.json", BEARER).json
    for path in ENDLESS:
        del told["paths"][path]
    for name, schema in told["components"]["schemas"].items():
        if "model" in schema.get("properties", {}) and name.endswith("Request"):
            schema["properties"]["model"] = {
                "enum": ["text-embedding-3-small"] if name == "EmbeddingsRequest" else MODELS
            }
    return told


async def asked(folder, served, told, key, examples, name):
    """Run schemathesis with a key, or none; return its exit code, its words, and `(method, path, status)` of all answers."""
    spec, har = folder / f"{name}.json", folder / f"{name}.har"
    spec.write_text(json.dumps(told))
    judge = await asyncio.create_subprocess_exec(
        tool("schemathesis"), "run", str(spec), "--url", served.url, "--checks", "all",
        "--exclude-checks", "negative_data_rejection,positive_data_acceptance", "--max-examples", str(examples), "--seed", "1",
        "--continue-on-failure", "--request-timeout", "20", "--workers", "2", "--suppress-health-check", "all",
        "--report", "har", "--report-har-path", str(har), *(["--header", f"Authorization: Bearer {key}"] if key else []),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder, env=environment(PYTHONWARNINGS="ignore"),
    )  # fmt: skip
    try:
        words = (await asyncio.wait_for(judge.communicate(), 1800 if examples > 100 else 100))[0].decode()
    finally:
        if judge.returncode is None:
            judge.kill()
            await judge.wait()
    entries = json.loads(har.read_text())["log"]["entries"]
    answers = [
        (e["request"]["method"], e["request"]["url"].removeprefix(served.url), e["response"]["status"]) for e in entries
    ]
    return judge.returncode, words, answers


@pytest.mark.parametrize("examples", [15, pytest.param(1000, marks=pytest.mark.long)])
async def test_no_server_error_and_nothing_without_a_key(tmp_path, examples):
    async with Simulator(SimConfig(seed=1, latency_s=0.0)) as simulator:
        served = Served(tmp_path, simulator.url)
        await asyncio.to_thread(served.__enter__)
        try:
            told = await asyncio.to_thread(described, served)
            operators = {
                path: one
                for path, one in told["paths"].items()
                if any({"adminKey": []} in op["security"] for op in one.values())
            }
            for name, paths, key in (
                ("caller", told["paths"], KEY),
                ("operator", operators, ADMIN_KEY),
                ("nobody", told["paths"], None),
            ):
                code, words, answers = await asked(tmp_path, served, {**told, "paths": paths}, key, examples, name)
                seen = Counter(status for _, _, status in answers)
                print(name, dict(seen))
                assert len(answers) > 100, words
                assert not [answer for answer in answers if answer[2] >= 500 and answer[2] != 501], words[-4000:]
                if name == "nobody":
                    is_open = {
                        path for path, one in told["paths"].items() if all(not op["security"] for op in one.values())
                    }
                    assert not [a for a in answers if a[2] < 300 and a[1].partition("?")[0] not in is_open]
                else:
                    assert seen[200] > 20
                if name == "caller":
                    assert code == 0, words[-6000:]
            assert served.ask("POST", "/v1/chat/completions", {}, {}).status == 401
        finally:
            await asyncio.to_thread(served.__exit__)
    assert "Traceback" not in served.log.read_text()
    assert os.path.getsize(served.log) > 0
