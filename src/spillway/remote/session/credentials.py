"""Where a credential comes from, and how it is read again."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from spillway.core.errors import ConfigError
from spillway.core.masked import Masked
from spillway.core.secrets import Secret, SecretLike

COMMAND_TIMEOUT_S = 10.0
MAX_BYTES = 1 << 20

_NOT_UTF8 = re.compile("[\udc80-\udcff]")


@runtime_checkable
class CredentialProvider(Protocol):
    """A source of one credential.

    It may have a `place` (str): the source in words, without the value, for error messages.
    """

    async def token(self) -> Secret:
        """Return the credential as it is now; called once when a session starts and once for each rebuild.

        Raises:
            ConfigError: the source yields none; the message names the place, never the value.
        """
        ...


class StaticApiKey:
    """A credential that never changes."""

    __slots__ = ("_secret",)

    place = "the key given"

    def __init__(self, secret: Secret | str) -> None:
        self._secret = secret if isinstance(secret, Secret) else Secret(secret)

    async def token(self) -> Secret:
        """Return it."""
        return self._secret

    def __repr__(self) -> str:
        return "<StaticApiKey>"


class EnvCredential:
    """A credential in a variable of `environ`, which is looked up again each time."""

    __slots__ = ("_environ", "_name", "place")

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._environ = environ
        self.place = f"environment variable {name}"

    async def token(self) -> Secret:
        """Return the variable's value."""
        if self._name not in self._environ:
            raise ConfigError(f"{self.place} is not set")
        return checked(Masked(self._environ[self._name]), self.place)

    def __repr__(self) -> str:
        return f"<EnvCredential {self._name}>"


class FileCredential:
    """A credential in a file, which is read again each time."""

    __slots__ = ("_path", "place")

    def __init__(self, path: str) -> None:
        self._path = path
        self.place = f"file {path}"

    async def token(self) -> Secret:
        """Return the file's text."""
        return checked(await asyncio.to_thread(self._text), self.place)

    def _text(self) -> Masked:
        path = Path(self._path)
        try:
            if path.exists() and not path.is_file():
                raise ConfigError(f"{self.place} is not a regular file")
            with path.open("rb") as file:
                return _decoded(io.BytesIO(file.read(MAX_BYTES + 1)), self.place)
        except OSError as exc:
            raise ConfigError(f"{self.place} can't be read: {exc.strerror}") from exc

    def __repr__(self) -> str:
        return f"<FileCredential {self._path}>"


class CommandCredential:
    """A credential that a command prints; it is run again each time, without a shell.

    Args:
        argv: the command and its arguments; they are in no message, for they may hold secrets themselves.
        timeout_s: after so many seconds it and all that it started are killed.
    """

    __slots__ = ("_argv", "_timeout_s", "place")

    def __init__(self, argv: tuple[str, ...], *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self._argv = argv
        self._timeout_s = timeout_s
        self.place = f"command {argv[0] if argv else ''}"

    async def token(self) -> Secret:
        """Return what it prints.

        Cancellation: kills it.
        """
        try:
            process = await _started(self._argv)
        except (OSError, ValueError, TypeError) as exc:
            raise ConfigError(f"{self.place} can't be run: {getattr(exc, 'strerror', None) or 'no command'}") from exc
        try:
            async with asyncio.timeout(self._timeout_s):
                output = await _output(process, self.place)
                status = await process.wait()
        except TimeoutError as exc:
            raise ConfigError(f"{self.place} did not end within {self._timeout_s:g} s and was killed") from exc
        finally:
            await _kill(process)
        if status != 0:
            raise ConfigError(f"{self.place} failed with exit status {status}")
        return checked(_decoded(output, self.place), self.place)

    def __repr__(self) -> str:
        return f"<CommandCredential {self._argv[0] if self._argv else ''}>"


def credential_provider(secret: SecretLike, environ: Mapping[str, str]) -> CredentialProvider:
    """Return the provider for an option that holds a credential; `environ` serves `from_env`."""
    if isinstance(secret, Secret):
        return StaticApiKey(secret)
    if secret.from_env is not None:
        return EnvCredential(secret.from_env, environ)
    if secret.from_file is not None:
        return FileCredential(secret.from_file)
    if secret.from_command is not None:
        return CommandCredential(secret.from_command)
    return StaticApiKey(secret.inline or Secret(""))


def checked(value: Masked, place: str) -> Secret:
    """Return `value` without the blanks around it as a secret.

    A value that begins like a JSON object must be a whole one: a file that is being written is not. What of it is in a
    local variable is masked, here and below: an error's report may hold the variables of every frame.

    Raises:
        ConfigError: it is empty, cut off, or neither JSON nor one line.
    """
    value = Masked(value.strip())
    if not value:
        raise ConfigError(f"{place} is empty")
    if value.startswith("{"):
        try:
            msgspec.json.decode(str(value), type=dict[str, msgspec.Raw])
        except msgspec.DecodeError:
            raise ConfigError(f"{place} holds JSON that is not whole") from None
    elif not value.isprintable():
        raise ConfigError(f"{place} holds a line break or another character that no credential has")
    return Secret(str(value))


def _decoded(content: io.BytesIO, place: str) -> Masked:
    if content.getbuffer().nbytes > MAX_BYTES:
        raise ConfigError(f"{place} yields more than {MAX_BYTES} bytes")
    # An error of decoding would hold the bytes; lone surrogates stand for what is not UTF-8.
    value = Masked(content.getvalue().decode("utf-8-sig", "surrogateescape"))
    if _NOT_UTF8.search(value):
        raise ConfigError(f"{place} does not yield UTF-8 text")
    return value


async def _started(argv: tuple[str, ...]) -> asyncio.subprocess.Process:
    """Start the command; a cancellation that comes meanwhile waits until all that it started can be killed."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, ValueError, TypeError):
            await _kill(await starting)
        raise


async def _output(process: asyncio.subprocess.Process, place: str) -> io.BytesIO:
    output = io.BytesIO()
    if process.stdout is not None:
        while output.write(await process.stdout.read(1 << 16)):
            if output.tell() > MAX_BYTES:
                raise ConfigError(f"{place} yields more than {MAX_BYTES} bytes")
    return output


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Leave nothing of the command and its children behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # There is no public way to let go of a pipe that was not read to its end, and `wait` waits for it.
    process._transport.close()  # type: ignore[attr-defined] # noqa: SLF001 # see above
    await process.wait()
