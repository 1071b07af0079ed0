"""The memory of `spillway run` over a long file, against the cheap loopback provider: peak RSS by lines done."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from throughput import Server

TOML = """
[[deployment]]
name = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{url}"
api_key = {{ inline = "sk-bench" }}
[deployment.pricing]
input_per_mtok_usd = 0.15
output_per_mtok_usd = 0.60
"""


def measure(lines):
    """Return `(peak RSS in MB, lines a second)` of a run over so many lines."""
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        home = pathlib.Path(folder)
        (home / "spillway.toml").write_text(TOML.format(url=server.url))
        with (home / "in.jsonl").open("w") as file:
            for number in range(lines):
                file.write(json.dumps({"custom_id": f"line-{number}", "prompt": f"Say {number}"}) + "\n")
        start = time.perf_counter()
        command = [sys.executable, "-m", "spillway", "run", "in.jsonl", "-o", "out.jsonl"]
        child = subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        assert child.returncode == 0, child.returncode
        with (home / "out.jsonl").open() as file:
            assert sum(1 for _ in file) == lines
        return usage.ru_maxrss / 1024, lines / seconds


def measure_apart(lines):
    """Measure from a small process: the kernel counts what its parent held at the fork as the child's peak."""
    command = [sys.executable, __file__, "--figures", str(lines)]
    rss, speed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return float(rss), float(speed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--figures"]:
        print(*measure(int(sys.argv[2])))
        sys.exit()
    for count in [int(arg) for arg in sys.argv[1:]] or [10_000, 100_000]:
        rss, speed = measure(count)
        print(f"{count:>9,} lines  peak RSS {rss:6.1f} MB  {speed:8,.0f} lines/s", flush=True)
