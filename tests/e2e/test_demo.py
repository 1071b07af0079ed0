"""The demonstration, as a newcomer runs it."""

import subprocess
import sys


def test_the_demo_answers_every_prompt_exactly_once_within_a_minute():
    out = subprocess.run(
        [sys.executable, "-m", "spillway", "demo"], capture_output=True, text=True, timeout=90, check=False
    )
    assert out.returncode == 0, out.stderr[-2000:] + out.stdout[-2000:]
    lines = out.stdout.splitlines()
    assert lines[-1] == "300 of 300 prompts answered exactly once"
    rows = {line.strip().split("  ")[0]: line.split() for line in lines if line.strip()}
    assert rows["answered once"][-1] == "300"
    assert int(rows["answered once"][-2]) < 300, "the naive loop must lose some, or the demonstration shows nothing"
    assert rows["cut answers taken as done"][-1] == "0"
    assert int(rows["cut answers taken as done"][-2]) > 0
    assert rows["never answered"][-1] == "0"
    assert rows["answered twice"][-1] == "0"
    breakers = [line for line in lines if "─ open" in line and "─ probe" in line]
    assert breakers, "the outage opens a circuit, and a probe closes it"
    assert "spillway" in out.stderr, "progress goes to stderr"
