"""Credentials from the environment, files and commands: read again each time, never shown."""

import asyncio
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from spillway.core.errors import ConfigError
from spillway.core.secrets import Secret, SecretRef
from spillway.remote.session import CommandCredential, CredentialProvider, credential_provider


async def value_of(ref, environ=None):
    return (await credential_provider(ref, environ or {}).token()).reveal()


async def refusal_of(provider):
    with pytest.raises(ConfigError) as caught:
        await provider.token()
    message = str(caught.value)
    assert "\n" not in message and "hunter2" not in message and "hunter2" not in repr(provider)
    return message


async def test_every_place(tmp_path):
    path = tmp_path / "key"
    path.write_text("  sk-file\n")
    assert await value_of(Secret("sk-given")) == "sk-given"
    assert await value_of(SecretRef(inline=Secret("sk-inline"))) == "sk-inline"
    assert await value_of(SecretRef(from_env="KEY"), {"KEY": "sk-env "}) == "sk-env"
    assert await value_of(SecretRef(from_file=str(path))) == "sk-file"
    assert await value_of(SecretRef(from_command=("printf", "sk-command\n"))) == "sk-command"
    assert isinstance(credential_provider(SecretRef(from_env="KEY"), {}), CredentialProvider)


async def test_sources_are_read_again_each_time(tmp_path):
    environ, path = {"KEY": "one"}, tmp_path / "key"
    path.write_text("one")
    providers = [
        credential_provider(SecretRef(from_env="KEY"), environ),
        credential_provider(SecretRef(from_file=str(path)), {}),
        credential_provider(SecretRef(from_command=("cat", str(path))), {}),
    ]
    assert [(await p.token()).reveal() for p in providers] == ["one"] * 3
    environ["KEY"] = "two"
    path.write_text("two")
    assert [(await p.token()).reveal() for p in providers] == ["two"] * 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b'{"private_key": "hunter2', "not whole"),
        (b'{"private_key": "hunter2"}}', "not whole"),
        (b"hunter2\nhunter2", "line break"),
        (b"hunter2\0", "line break"),
        (b"\xff\xfehunter2", "UTF-8"),
        (b"hunter2" * 200_000, "more than"),
    ],
)
async def test_file_that_holds_no_credential(tmp_path, content, told):
    path = tmp_path / "key"
    path.write_bytes(content)
    message = await refusal_of(credential_provider(SecretRef(from_file=str(path)), {}))
    assert message.startswith(f"file {path} ") and told in message


async def test_json_of_many_lines_is_a_credential(tmp_path):
    path = tmp_path / "sa.json"
    path.write_text('\ufeff{\n "private_key": "x"\n}\n')
    assert await value_of(SecretRef(from_file=str(path))) == '{\n "private_key": "x"\n}'


async def test_file_that_is_not_there_or_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("missing", "pipe", "."):
        message = await refusal_of(credential_provider(SecretRef(from_file=str(tmp_path / name)), {}))
        assert str(tmp_path) in message


async def test_variable_that_is_not_set():
    assert await refusal_of(credential_provider(SecretRef(from_env="KEY"), {})) == "environment variable KEY is not set"
    assert "KEY is empty" in await refusal_of(credential_provider(SecretRef(from_env="KEY"), {"KEY": " "}))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("false",), "command false failed with exit status 1"),
        (("sh", "-c", "echo hunter2 >&2; exit 3"), "command sh failed with exit status 3"),
        (("/nowhere/at/all", "hunter2"), "command /nowhere/at/all can't be run"),
        (("true",), "command true is empty"),
        (("sh", "-c", "kill -9 $$"), "failed with exit status -9"),
        (("head", "-c", "2000000", "/dev/zero"), "more than"),
        ((), "can't be run"),
    ],
)
async def test_command_that_yields_no_credential(argv, told, capfd):
    assert told in await refusal_of(CommandCredential(argv))
    assert "hunter2" not in "".join(capfd.readouterr())


def hanging(tmp_path):
    """A command that starts another one and hangs, with the other holding on to its output."""
    script = tmp_path / "hang"
    script.write_text(f"#!/bin/sh\nsleep 77 &\necho $! > {tmp_path}/child\necho $$ > {tmp_path}/parent\nwait\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def living(tmp_path):
    def lives(name):
        try:
            state = Path(f"/proc/{(tmp_path / name).read_text().strip()}/stat").read_text().split(") ")[1][0]
        except OSError:
            return False
        return state != "Z"

    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and (lives("child") or lives("parent")):
        time.sleep(0.01)
    return [name for name in ("child", "parent") if lives(name)]


async def test_command_that_hangs_is_killed_with_its_children(tmp_path):
    message = await refusal_of(CommandCredential((hanging(tmp_path),), timeout_s=0.3))
    assert "did not end within 0.3 s and was killed" in message
    assert living(tmp_path) == []


async def test_cancelled_command_is_killed_with_its_children(tmp_path):
    asking = asyncio.ensure_future(CommandCredential((hanging(tmp_path),)).token())
    while not (tmp_path / "parent").exists():
        await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    assert living(tmp_path) == []


async def test_command_gets_no_shell():
    argv = (sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME; `id` *")
    assert await value_of(SecretRef(from_command=argv)) == "$HOME; `id` *"
