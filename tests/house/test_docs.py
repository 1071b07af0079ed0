"""Every Python snippet of the README and the docs runs, in order within its page."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

RUN_PAGE = """
import ast, asyncio, inspect, sys
from spillway.sim import SimConfig, Simulator

blocks = {blocks!r}
names = {{"__name__": "__main__"}}

def execute(code):
    result = eval(code, names)
    if inspect.iscoroutine(result):
        asyncio.run(result)

def main(url):
    for block in blocks:
        block = (block.replace("https://api.openai.com", url).replace("https://api.anthropic.com", url)
                 .replace("https://generativelanguage.googleapis.com", url))
        execute(compile(block, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))

import threading
ready, done = threading.Event(), None
box = {{}}
def serve():
    async def run():
        async with Simulator(SimConfig(seed=1)) as sim:
            box["url"], box["stop"], box["loop"] = sim.url, asyncio.Event(), asyncio.get_running_loop()
            ready.set()
            await box["stop"].wait()
    asyncio.run(run())
thread = threading.Thread(target=serve)
thread.start()
ready.wait(20)
try:
    main(box["url"])
finally:
    box["loop"].call_soon_threadsafe(box["stop"].set)
    thread.join()
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_snippets_run(page, tmp_path):
    blocks = [textwrap.dedent(b) for b in BLOCK.findall(page.read_text())]
    for block in blocks:
        ast.parse(block) if "await" not in block else compile(
            block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
    if not blocks:
        return
    keys = {"OPENAI_API_KEY": "sk-test", "ANTHROPIC_API_KEY": "sk-test", "GEMINI_API_KEY": "test"}
    for example in (ROOT / "docs" / "examples").glob("*"):
        (tmp_path / example.name).write_bytes(example.read_bytes())
    out = subprocess.run(
        [sys.executable, "-c", RUN_PAGE.format(blocks=blocks)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **keys},
        timeout=100,
        check=False,
    )
    assert out.returncode == 0, f"{page.name}: {out.stderr[-3000:]}"


def test_links_between_pages_lead_somewhere():
    broken = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not (page.parent / link).exists():
                broken.append(f"{page.name} -> {link}")
    assert not broken
