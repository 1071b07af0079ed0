"""Keys that are looked for in all that commands print and write."""

import asyncio
import json
import subprocess
import sys

import pytest
from canaries import BARE, KEYS, PROXY, watching
from run_cli import prompts, world

from spillway.sim import Phase, Scenario
from spillway.testing.byte_server import ByteServer, Do, answer


@pytest.fixture
def sieve(caplog, capfd):
    with watching(caplog, capfd) as found:
        yield found


TABLE = """
[[deployment]]
name    = "{name}"
model   = "{model}"
runtime = "{runtime}"
[deployment.runtime_config]
endpoint = "{url}"
api_key  = {key}
[deployment.retry]
max_retries       = 1
initial_backoff_s = 0.001
[deployment.timeouts]
unary_timeout_s = 2.0
[deployment.pricing]
input_per_mtok_usd  = 0.1
output_per_mtok_usd = 0.1
{more}
"""


def project(folder, sim, *, proxy="", more=""):
    """A project file with a key from everywhere, and the environment that it needs."""
    (folder / "key").write_text(KEYS["anthropic"].reveal())
    (folder / "key").chmod(0o600)
    command = json.dumps([sys.executable, "-c", f"print(open({str(folder / 'bare')!r}).read())"])
    (folder / "bare").write_text(BARE.reveal())
    keys = {
        "environment": ("openai", "gpt-4o-mini", f"{sim.url}/v1", '{ from_env = "MY_KEY" }'),
        "file": (
            "anthropic",
            "claude-haiku-4-5",
            sim.url,
            json.dumps({"from_file": str(folder / "key")}).replace(":", " =", 1),
        ),
        "command": ("litellm", "gpt-4o-mini", f"{sim.url}/litellm/v1", f"{{ from_command = {command} }}"),
        "inline": (
            "gemini",
            "gemini-2.5-flash",
            sim.url,
            json.dumps({"inline": KEYS["gemini"].reveal()}).replace(":", " =", 1),
        ),
    }
    text = "".join(
        TABLE.format(name=name, runtime=runtime, model=model, url=url, key=key, more=more)
        for name, (runtime, model, url, key) in keys.items()
    )
    if proxy:
        text += f'[deployment.http]\nproxy = "{proxy}"\n'
    (folder / "spillway.toml").write_text(text)
    return {"MY_KEY": KEYS["openai"].reveal()}


def command(here, environ, *args):
    return subprocess.run(
        [sys.executable, *(["-X", "dev"] if "--live" in args else []), "-m", "spillway", *args],
        cwd=here.folder, env={**here.environ, **environ}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


async def shown_by(sieve, here, environ, *args):
    done = await asyncio.to_thread(command, here, environ, *args)
    sieve.look(f"{args} stdout", done.stdout)
    sieve.look(f"{args} stderr", done.stderr)
    for path in here.folder.iterdir():
        if path.is_file() and path.name not in {"spillway.toml", "key", "bare"}:
            sieve.look(f"{args} {path.name}", path.read_bytes())
    for path in here.folder.rglob("*.spillway/*"):
        sieve.look(f"{args} {path.name}", path.read_bytes())
    return done


@pytest.mark.parametrize("args", [["--json"], ["--live"]], ids=" ".join)
async def test_check(sieve, tmp_path, args):
    async with world(tmp_path) as here:
        environ = project(tmp_path, here.sim)
        done = await shown_by(sieve, here, environ, "check", *args)
        assert done.returncode == 0, done.stderr
        assert "inline" in done.stdout or "the secret stands in the file" in done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["401", "html-error-page"])
async def test_check_of_what_does_not_answer(sieve, tmp_path, fault):
    async with world(tmp_path, scenario=Scenario(phases=(Phase(p=1.0, fault=fault),))) as here:
        done = await shown_by(sieve, here, project(tmp_path, here.sim), "check", "--live")
        assert done.returncode == 1, done.stderr


async def test_check_of_what_is_wrong(sieve, tmp_path):
    async with world(tmp_path) as here:
        environ = project(
            tmp_path, here.sim, proxy=f"socks5://user:{PROXY.reveal()}@127.0.0.1:1", more="[deployment.http]\nhttp2 = 7"
        )
        for text in (
            (tmp_path / "spillway.toml").read_text(),
            (tmp_path / "spillway.toml").read_text().replace("[deployment.http]\nhttp2 = 7", ""),
        ):
            (tmp_path / "spillway.toml").write_text(text)
            done = await shown_by(sieve, here, environ, "check")
            assert done.returncode == 2
        inline = f'[[deployment]]\nname = "m"\nruntime = "openai"\n[deployment.runtime_config]\napi_key = "{KEYS["openai"].reveal()}"\n'
        (tmp_path / "spillway.toml").write_text(inline)
        assert (await shown_by(sieve, here, environ, "check")).returncode == 2
        (tmp_path / "spillway.toml").write_text(inline.replace('= "sk', '= { inlnie = "sk').rstrip() + " }\n")
        assert (await shown_by(sieve, here, environ, "check")).returncode == 2


async def test_run(sieve, tmp_path):
    faults = ("500", "reset-before-headers", "garbage-json", "context-length", "html-error-page")
    phases = tuple(Phase(p=0.1, fault=fault) for fault in faults)
    async with world(tmp_path, scenario=Scenario(phases=phases)) as here:
        environ = project(tmp_path, here.sim)
        for name in ("environment", "command"):
            here.input.write_text(prompts(20))
            here.forget()
            done = await shown_by(
                sieve, here, environ,
                "run", str(here.input), "-o", str(here.output), "-d", name, "--json", "--give-up-after", "2",
                "--report", str(tmp_path / "report.html"),
            )  # fmt: skip
            assert done.returncode in {0, 1, 3}, done.stderr
            assert here.output.exists()


async def test_run_through_a_proxy_with_a_password(sieve, tmp_path):
    async with world(tmp_path) as here, ByteServer([Do.READ, answer(b"", 407)] * 20) as proxy:
        environ = project(tmp_path, here.sim, proxy=f"http://user:{PROXY.reveal()}@127.0.0.1:{proxy.port}")
        here.input.write_text(prompts(3))
        done = await shown_by(
            sieve, here, environ, "run", str(here.input), "-o", str(here.output), "-d", "inline", "--give-up-after", "4"
        )
        assert done.returncode in {1, 3}, done.stderr
        assert proxy.conversations
