"""Secrets that a third party's code fetches: plugins by entry point, loaded when they are used and not before.

The object of an entry point of the group `spillway.secrets` is called `factory(options, *, environ)` and returns

    a CredentialProvider   kept; its `token()` is awaited for each read
    a Secret, or a text    the credential; the factory is called for each read
    an awaitable of these  awaited

A plain function is called in a thread of its own, so it may block; a class and a coroutine function on the loop.
"""

from __future__ import annotations

import asyncio
import difflib
import inspect
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from spillway.core.errors import ConfigError
from spillway.core.masked import Masked, MaskedVariables
from spillway.core.secrets import Secret, SecretLike, SecretRef
from spillway.remote.classify.redaction import one_line
from spillway.remote.session import CredentialProvider, credential_provider
from spillway.remote.session.credentials import checked

ENTRY_POINTS = "spillway.secrets"
"""The group of entry points that plugins are found by."""

TIMEOUT_S = 10.0
"""Seconds after which a plugin that has not answered is given up."""

_LONGEST = 200
_LEAST_HIDDEN = 6
_SECRET_NAME = re.compile("token|key|secret|passw|credential|auth", re.IGNORECASE)


def credential_source(secret: SecretLike, environ: Mapping[str, str]) -> CredentialProvider:
    """Return the source of an option that holds a credential, plugins included; nothing is read yet."""
    if isinstance(secret, SecretRef) and secret.from_plugin is not None:
        return PluginCredential(secret, environ)
    return credential_provider(secret, environ)


def known_plugins() -> tuple[str, ...]:
    """Return the names of all plugins that are installed."""
    return tuple(sorted({point.name for point in entry_points(group=ENTRY_POINTS)}))


def unknown_plugin(name: str) -> str | None:
    """Return one line that says `name` is not installed and which plugin may have been meant; None when it is."""
    known = known_plugins()
    if name in known:
        return None
    if not known:
        return f"no plugin {name!r}: no installed package has an entry point of the group {ENTRY_POINTS}"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return f"no plugin {name!r} (nearest: {near!r}); installed: {', '.join(known)}"


class PluginCredential:
    """A credential that a plugin yields; it is asked again each time.

    Args:
        ref: names the plugin, and what it is told.
        environ: handed to the plugin.
        timeout_s: after so many seconds it is given up.
    """

    __slots__ = ("_environ", "_factory", "_provider", "_ref", "_seen", "_timeout_s", "place")

    def __init__(self, ref: SecretRef, environ: Mapping[str, str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._ref = ref
        self._environ = MaskedVariables(environ)
        self._timeout_s = timeout_s
        self._factory: Callable[..., Any] | None = None
        self._provider: CredentialProvider | None = None
        self._seen: Secret | None = None
        self.place = ref.place

    async def token(self) -> Secret:
        """Return what the plugin yields.

        Raises:
            ConfigError: there is no such plugin, it failed, or it yields no credential. Of its own ConfigErrors the
                words are shown, without the secrets that are known; of other errors class and place only.
        """
        value: Any = None
        timer = asyncio.timeout(self._timeout_s)
        failure = ""
        try:
            async with timer:
                value = await self._ask()
        except ConfigError as error:
            failure = f": {self._told(str(error))}"
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; what it says may hold a secret
            if isinstance(error, TimeoutError) and timer.expired():
                failure = f" did not answer within {self._timeout_s:g} s"
            else:
                failure = f" failed: {type(error).__name__}{_where(error)}"
        if failure:
            raise ConfigError(f"{self.place}{failure}")
        if isinstance(value, Secret):
            value = Masked(value.reveal())
        if not isinstance(value, str):
            raise ConfigError(f"{self.place} yields one of type {type(value).__name__}, not a Secret")
        self._seen = checked(Masked(value), self.place)
        return self._seen

    async def _ask(self) -> Any:
        made: Any = self._provider
        if made is None:
            factory = self._factory
            if factory is None:
                factory = self._factory = await _in_thread(self._point().load)
            call = partial(factory, self._ref.options, environ=self._environ)
            on_loop = inspect.isclass(factory) or inspect.iscoroutinefunction(factory)
            made = call() if on_loop else await _in_thread(call)
            if inspect.isawaitable(made):
                made = await made
        if callable(getattr(made, "token", None)):
            self._provider = made
            made = await made.token()
        return made

    def _point(self) -> EntryPoint:
        name = self._ref.from_plugin or ""
        found = next((point for point in entry_points(group=ENTRY_POINTS) if point.name == name), None)
        if found is None:
            raise ConfigError(unknown_plugin(name) or f"no plugin {name!r}")
        return found

    def _told(self, message: str) -> str:
        hidden = [value for name, value in self._ref.options.items() if _SECRET_NAME.search(name)]
        hidden += [self._environ[name] for name in self._environ if _SECRET_NAME.search(name)]
        hidden += [] if self._seen is None else [self._seen.reveal()]
        for value in hidden:
            if len(value) >= _LEAST_HIDDEN:
                message = message.replace(value, "[redacted]")
        return one_line(message, _LONGEST)

    def __repr__(self) -> str:
        return f"<PluginCredential {self._ref.from_plugin}>"


async def _in_thread(call: Callable[[], Any]) -> Any:
    """Return what `call` returns in a thread that nobody waits for when it hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as caught:  # noqa: BLE001 - it is raised where it is awaited
            error = caught
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="spillway-secret-plugin", daemon=True).start()
    return await done


def _where(error: BaseException) -> str:
    """Return where an error was raised, for whoever has to mend it: file and line hold no secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
