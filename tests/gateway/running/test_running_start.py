"""What a serving process says when it starts, and when it can't."""

import asyncio
import re
import socket
import subprocess
import sys

import pytest
from running_rig import Serving, project

URL = "http://127.0.0.1:9"


async def fails(serve, text=None, *args, **environ):
    """Return the exit code and the lines of a start that fails."""
    serving = serve(text, *args, **environ)
    code = await serving.ends(20.0)
    assert serving.printed == ""
    return code, serving.said.splitlines()


async def test_it_says_where_it_is_who_may_ask_and_who_may_operate(serve, sim):
    text = project(sim.url, keys=("one", "two"), gateway='admin_key = { inline = "x" }')
    serving = await serve(text, "--bind", "127.0.0.1:0").up()
    await serving.says("dashboard")
    first, second = (line for line in serving.said.splitlines() if not line.startswith("{"))
    url = f"http://127.0.0.1:{serving.port}"
    assert serving.port > 0
    assert first == f"serving: {url}/v1 (on 127.0.0.1:{serving.port}), 1 deployments; 2 gateway keys"
    assert second == f"dashboard: {url}/dashboard, with the admin key"
    assert serving.printed == ""


@pytest.mark.option("gateway.bind")
@pytest.mark.parametrize("bind", ["127.0.0.1:0", "localhost:0", "[::1]:0", "127.0.0.2:0"])
async def test_without_a_key_it_is_open_on_loopback_only(serve, sim, bind):
    text = project(sim.url, keys=()).replace("127.0.0.1:0", bind)
    serving = serve(text)
    found = await serving.says(r"serving: http://(\S+):(\d+)/v1")
    assert found[1] == bind.rpartition(":")[0]
    assert "no gateway key: open to this machine" in serving.said
    host = found[1].strip("[]")
    reader, writer = await asyncio.open_connection(host, int(found[2]))
    writer.write(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    assert b"200 OK" in await reader.read()
    writer.close()


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0"])
async def test_without_a_key_it_is_not_open_to_others(serve, bind):
    code, lines = await fails(serve, project(URL, keys=()), "--bind", bind)
    assert (code, len(lines)) == (2, 1)
    assert "open to others and there is no gateway key" in lines[0]


async def test_with_a_key_it_listens_to_others(serve, sim):
    serving = await serve(project(sim.url), "--bind", "0.0.0.0:0").up()
    assert f"serving: http://127.0.0.1:{serving.port}/v1 (on 0.0.0.0:{serving.port})" in serving.said


@pytest.mark.parametrize(
    ("args", "environ", "says"),
    [
        (("--workers", "2"), {}, "limits and budgets would multiply"),
        (("--bind", "nonsense"), {}, "bind must be HOST:PORT"),
        (("--bind", ":8080"), {}, "bind must be HOST:PORT"),
        (("--bind", "127.0.0.1:99999"), {}, "bind must be HOST:PORT"),
        (("--bind", "no.such.host.invalid:80"), {}, "is no address of this machine"),
        (("--bind", "192.0.2.1:8080"), {}, "this machine has no such address"),
        (("-c", "absent.toml"), {}, "there is no such file"),
        (("--workers", "0"), {}, "--workers"),
    ],
)
async def test_what_is_wrong_is_one_line_and_exit_2(serve, args, environ, says):
    code, lines = await fails(serve, project(URL), *args, **environ)
    assert (code, len(lines)) == (2, 1), lines
    assert says in lines[0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('{ inline = "key-a" }', '{ from_env = "NOT_THERE" }', r"spillway\.toml:6: .*key: environment variable NOT_THERE"),
        ('{ from_env = "OPENAI_API_KEY" }', '{ from_file = "gone" }', r"spillway\.toml:\d+: .*api_key: file .*gone"),
        ('name = "a"', "name = 7", r"spillway\.toml:5: .*name"),
        ("[gateway]", "[gatevay]", r"gatevay.*gateway"),
        ('runtime = "openai"', 'runtime = "openai"\nfallback = ["x"]', r"spillway\.toml:\d+: .*x"),
        ("[deployment.runtime_config]", "[deployment.rate_limits]\nrequests_per_minute = -1\n[deployment.runtime_config]", r"spillway\.toml:\d+: .*requests_per_minute"),
    ],
)  # fmt: skip
async def test_a_wrong_file_or_secret_is_one_line_that_names_the_place(serve, old, new, says):
    text = project(URL)
    assert old in text
    code, lines = await fails(serve, text.replace(old, new))
    assert (code, len(lines)) == (2, 1), lines
    assert re.search(says, lines[0])
    assert "key-a" not in lines[0]
    assert "sk-test" not in lines[0]


async def test_two_gateway_keys_that_are_the_same_are_refused(serve):
    code, lines = await fails(serve, project(URL, keys=("same", "same")))
    assert code == 2
    assert "are the same key" in lines[-1]
    assert not any("inline" in line for line in lines)


async def test_a_port_that_is_taken_is_one_line(serve, sim):
    first = await serve(project(sim.url)).up()
    code, lines = await fails(serve, None, "--bind", f"127.0.0.1:{first.port}")
    assert (code, len(lines)) == (2, 1)
    assert "another process listens there" in lines[0]
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, lines = await fails(serve, None, "--bind", f"127.0.0.1:{other.getsockname()[1]}")
    assert (code, len(lines)) == (2, 1)
    assert (await first.chat())[0] == 200


def test_without_the_extra_it_says_which(tmp_path):
    (tmp_path / "spillway.toml").write_text(project(URL))
    code = (
        "import sys; sys.modules['granian'] = None; sys.argv = ['spillway', 'serve'];"
        "from spillway.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("the extra gateway brings it: pip install 'spillway[gateway]'")
    assert "Traceback" not in ended.stderr


def test_serving_says_itself_in_words(tmp_path):
    one = Serving(tmp_path, project(URL), "--help")
    one.popen.wait()
    assert "SIGHUP" in one.printed
    assert "--bind" in one.printed
    one.close()


async def test_a_secret_that_everybody_may_read_is_warned_of(serve, sim, tmp_path):
    (tmp_path / "open.key").write_text("sk-open")
    (tmp_path / "open.key").chmod(0o644)
    (tmp_path / "closed.key").write_text("key-a")
    (tmp_path / "closed.key").chmod(0o600)
    text = project(sim.url).replace('{ from_env = "OPENAI_API_KEY" }', '{ from_file = "open.key" }')
    serving = await serve(text.replace('{ inline = "key-a" }', '{ from_file = "closed.key" }')).up()
    warnings = [line for line in serving.said.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "open.key holds a secret and can be read by every user of this machine" in warnings[0]
    serving.close()
    serving = serve(project(sim.url))
    serving.file.chmod(0o644)
    await serving.says(r"warning: \S*spillway\.toml holds a secret")
    assert "sk-" not in serving.said
