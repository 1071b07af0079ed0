"""The store as commands show it: where it is, whether it answers, and never the login of its URL."""

import asyncio
import json
import re
import socket
import subprocess
import sys
import urllib.request

import pytest
from dashboard_rig import free_port, until
from run_cli import config, prompts, world

USER, PASSWORD = "canary-user-of-the-store", "canary-password-of-the-store"
CLUSTER = """
[cluster]
name = "prod"
store = "{url}"
state = ""
[gateway]
bind = "127.0.0.1:{port}"
"""
BUDGET = "[deployment.budget]\nmax_spend_per_day_usd = 5.0\n"


class Commands:
    """A project whose store has a login, and all that its commands have said."""

    def __init__(self, here, place):
        self.here, self.place, self.port = here, place, free_port()
        self.said = []
        self.write(f"redis://{USER}:{PASSWORD}@{place}")

    def write(self, url, more=BUDGET):
        self.here.project(CLUSTER.format(url=url, port=self.port) + config(self.here.sim.url, more=more))
        (self.here.folder / "spillway.toml").chmod(0o600)

    async def __call__(self, *args, seconds=60):
        """Return the exit code, what was printed, and on stderr."""
        ended = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "spillway", *args],
            cwd=self.here.folder, env=self.here.environ, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        self.said += [ended.stdout, ended.stderr]
        return ended.returncode, ended.stdout, ended.stderr

    def check_nothing_is_shown(self):
        for text in self.said:
            assert USER not in text
            assert PASSWORD not in text


@pytest.fixture
async def commands(tmp_path, redis_server):
    async with world(tmp_path) as here:
        said = Commands(here, f"127.0.0.1:{redis_server.port}/0")
        yield said
        said.check_nothing_is_shown()


def redis_says(server, *words):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as line:
        line.sendall((" ".join(words) + "\r\n").encode())
        return line.recv(100)


def let_in(server):
    assert redis_says(server, "ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "+@all") == b"+OK\r\n"


async def test_check_shows_where_it_is_and_asks_only_when_told_to(commands, redis_server):
    let_in(redis_server)
    code, out, err = await commands("check")
    assert (code, err) == (0, "")
    assert f"store: redis://{commands.place}, cluster prod\n" in out
    assert redis_says(redis_server, "DBSIZE") == b":0\r\n"
    code, out, _ = await commands("check", "--live")
    assert code == 0, out
    assert re.search(rf"store: redis://{commands.place}, cluster prod: answers in [\d.]+ ms\n", out)
    code, out, _ = await commands("check", "--live", "--json")
    told = json.loads(out)["store"]
    assert (told["url"], told["answered"]) == (f"redis://{commands.place}", True)


async def test_check_says_that_it_does_not_answer(commands, redis_server):
    redis_server.kill()
    assert (await commands("check"))[0] == 0
    code, out, err = await commands("check", "--live", seconds=15)
    assert (code, err) == (1, "")
    assert "cluster prod: the store did not answer: ConnectionError" in out
    assert "failed: budget_exceeded: the store that keeps the budget of all processes is not reached" in out
    commands.write(
        f"redis://{USER}:{PASSWORD}@{commands.place}", "[deployment.rate_limits]\nrequests_per_minute = 60\n"
    )
    code, out, _ = await commands("check", "--live", seconds=15)
    assert code == 1
    assert "failed: not asked: the store has not been reached yet" in out


@pytest.mark.parametrize("reason", ["WRONGPASS", "NOPERM"])
async def test_a_login_that_is_refused_is_shown_to_nobody(commands, redis_server, reason):
    if reason == "NOPERM":
        redis_says(redis_server, "ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "+@all", "-info")
    code, out, _ = await commands("check", "--live")
    assert code == 1
    said = next(line for line in out.splitlines() if line.startswith("store: "))
    assert "the store did not answer: " in said
    assert ("permission" if reason == "NOPERM" else "invalid username-password pair") in said
    (commands.here.folder / "in.jsonl").write_text(prompts(1))
    code, _, err = await commands("run", "in.jsonl", "-o", "out.jsonl", "--give-up-after", "1")
    assert code == 3
    assert "the store did not answer" in err


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"redis://{USER}:{PASSWORD}@127.0.0.1:99999/0", "an option, a port or a database that is none"),
        (f"redis://{USER}:{PASSWORD}@127.0.0.1:port/0", "an option, a port or a database that is none"),
        (f"redis://{USER}:{PASSWORD}@127.0.0.1:6379/0?shards=2", "an option, a port or a database that is none"),
        (f"redis://{USER}:{PASSWORD}@127.0.0.1:6379/zero", "the database in a store's URL is a number"),
        (f"reddis://{USER}:{PASSWORD}@127.0.0.1:6379/0", 'store must be "memory" or a URL'),
        (f"redis+sentinel://{USER}:{PASSWORD}@127.0.0.1", "a store's URL with sentinels is like"),
    ],
)
async def test_a_url_that_is_none_is_refused_with_its_place(commands, url, says):
    commands.write(url)
    (commands.here.folder / "in.jsonl").write_text(prompts(1))
    for args in (("check",), ("serve",), ("run", "in.jsonl", "-o", "out.jsonl")):
        code, _, err = await commands(*args)
        assert code == 2
        (line,) = err.replace("warning: ", "").splitlines()[-1:]
        assert line.startswith("error: spillway.toml:4: [cluster] store")
        assert says in line


async def test_without_the_extra_one_line_says_which(commands):
    (commands.here.folder / "redis.py").write_text('raise ModuleNotFoundError("No module", name="redis")\n')
    commands.here.environ["PYTHONPATH"] = str(commands.here.folder)
    for command in ("check", "serve"):
        code, _, err = await commands(command)
        assert code == 2
        assert "error: spillway.toml:4: [cluster] store: redis is missing; the extra redis brings it" in err


async def test_serve_says_what_a_store_that_does_not_answer_means(commands, redis_server):
    let_in(redis_server)
    redis_server.kill()
    argv = [sys.executable, "-m", "spillway", "serve"]
    log = (commands.here.folder / "log").open("w+")
    serving = subprocess.Popen(
        argv, cwd=commands.here.folder, env=commands.here.environ, stdout=subprocess.DEVNULL, stderr=log
    )

    def read():
        log.seek(0)
        return log.read()

    try:
        await asyncio.to_thread(until, lambda: "serving: " in read(), "the gateway")
        (line,) = [line for line in read().splitlines() if line.startswith("warning: the store ")]
        assert line == (
            f"warning: the store redis://{commands.place} does not answer: until it does, strict limits admit nothing, "
            "others nothing before it was reached once, budgets are closed, and circuits are each process's own"
        )
        code, out, _ = await commands("status")
        assert code == 0
        assert "(store lost)" in out
        for path in ("/metrics", "/admin/deployments", "/admin/costs", "/openapi.json"):
            status, text = await get(commands, path)
            assert status == 200
            commands.said.append(text)
    finally:
        serving.terminate()
        await asyncio.to_thread(serving.wait, 20)
        commands.said.append(read())
        log.close()


async def get(commands, path):
    def ask():
        with urllib.request.urlopen(f"http://127.0.0.1:{commands.port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()

    return await asyncio.to_thread(ask)
