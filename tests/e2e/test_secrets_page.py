"""The plugin of docs/secrets.md, installed as the page says, against a vault on loopback."""

import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from spillway.sim import SimConfig, Simulator

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "secrets.md").read_text()
TOKEN = "hvs.QzJgHkQzJmNpQzJqRsQzJtUv"
KEY = "sk-QzJwWzQzJvTkQzJhGpQzJnMr"


def block(language, holding):
    (found,) = [b for b in re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if holding in b]
    return found


class Vault(BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.headers["X-Vault-Token"] == TOKEN and self.path == "/v1/secret/data/openai"
        body = json.dumps({"data": {"data": {"key": KEY}}} if allowed else {"errors": ["permission denied"]}).encode()
        self.send_response(200 if allowed else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def vault():
    server = HTTPServer(("127.0.0.1", 0), Vault)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def project(tmp_path):
    (tmp_path / "vault_for_spillway.py").write_text(block("python", "def vault("))
    points = re.search(r'^vault = "(.+)"$', block("toml", "entry-points"), re.MULTILINE)[1]
    info = tmp_path / "vault_for_spillway-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vault-for-spillway\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[spillway.secrets]\nvault = {points}\n")
    (tmp_path / "spillway.toml").write_text(block("toml", 'api_key = { from_plugin = "vault"'))
    return tmp_path


async def spillway(project, *words, **environ):
    environ = {**os.environ, "PYTHONPATH": str(project), **environ}
    command = [sys.executable, "-m", "spillway", *words]
    return await asyncio.to_thread(
        subprocess.run, command, cwd=project, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


async def test_the_plugin_of_the_page_checks_and_answers(project, vault):
    async with Simulator(SimConfig(seed=1, valid_keys=frozenset({KEY}))) as sim:
        with (project / "spillway.toml").open("a") as file:
            file.write(f'endpoint = "{sim.url}/v1"\n')
        run = await spillway(project, "check", "--live", "--json", VAULT_ADDR=vault, VAULT_TOKEN=TOKEN)
        assert run.returncode == 0, run.stdout + run.stderr
        report = json.loads(run.stdout)
        assert report["deployments"][0]["secrets"] == [{"place": "plugin vault", "state": "ok"}]
        assert report["live"][0]["answered"]
        assert list(sim.stats()["by_key"].values()) == [1]
    assert not any(secret[at : at + 8] in run.stdout + run.stderr for secret in (KEY, TOKEN) for at in range(16))


@pytest.mark.parametrize(
    ("token", "said"),
    [(TOKEN + "x", "plugin vault failed: HTTPError at "), (None, "plugin vault failed: KeyError at ")],
)
async def test_what_goes_wrong_in_it_is_one_line_and_shows_no_token(project, vault, token, said):
    environ = {"VAULT_ADDR": vault} | ({} if token is None else {"VAULT_TOKEN": token})
    run = await spillway(project, "check", **environ)
    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if "plugin vault" in line]
    assert said in line
    assert not any(TOKEN[at : at + 8] in run.stdout + run.stderr for at in range(len(TOKEN) - 7))
