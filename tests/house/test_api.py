"""A change of the public surface is a reviewed diff of api.txt."""

import difflib
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from surface import API, lines


def test_the_exported_surface_is_the_committed_one():
    found = list(lines())
    committed = API.read_text().splitlines()
    change = "\n".join(difflib.unified_diff(committed, found, "api.txt", "exported", lineterm="", n=0))
    assert not change, f"run `make api` and review the diff:\n{change}"


def test_importing_the_package_loads_no_http_client_no_price_list_and_no_command_line():
    heavy = ("aiohttp", "genai_prices", "pydantic", "click", "rich", "uvloop")
    code = f"import sys, spillway, spillway.remote; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
