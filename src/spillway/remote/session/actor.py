"""The session: one client and credential at a time, replaced as a whole, once for all who ask at the same time."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, Self

import msgspec

from spillway.core.actor import Actor
from spillway.core.errors import ConfigError, InferenceError, NetworkError, Unauthorized
from spillway.core.secrets import Secret
from spillway.remote.http import HttpClient
from spillway.remote.session.credentials import CredentialProvider
from spillway.remote.session.expiry import Refreshing, windows_of
from spillway.remote.session.snapshot import SessionSnapshot

_logger = logging.getLogger("spillway.session")


class SessionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is made of.

    Attributes:
        provider: name for error messages.
        credentials: the source of the credential, or of each key of a pool.
        build_client: returns a new client; called on the loop for each generation.
        prepare: called with a generation's first secret; what it returns is the snapshot's `prepared`.
        verify: called with the client of a rebuilt session before it takes the old one's place; raises ConfigError
            when it is of no use.
        deployment: name for error messages.
        min_interval_s: the sources are not read more often than this for refused credentials.
        refresh_early_s: so long before a token ends, a new one is fetched in the background.
        refresh_late_s: so long before it ends, requests wait for the new one.
        refresh_wait_s: and for so long at most.
    """

    provider: str
    credentials: CredentialProvider | tuple[CredentialProvider, ...]
    build_client: Callable[[], HttpClient]
    prepare: Callable[[Secret], Any] | None = None
    verify: Callable[[HttpClient], Awaitable[None]] | None = None
    deployment: str | None = None
    min_interval_s: float = 1.0
    refresh_early_s: float = 300.0
    refresh_late_s: float = 60.0
    refresh_wait_s: float = 5.0

    @property
    def sources(self) -> tuple[CredentialProvider, ...]:
        """The sources as a tuple."""
        return self.credentials if isinstance(self.credentials, tuple) else (self.credentials,)


class SessionRebuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Replace the session; answered with the `SessionSnapshot` that is current afterwards.

    Attributes:
        cause: the error that a credential was refused with, None when an operator asks.
        generation: the generation that was refused, None for the present one.
        force: build a new client even if the credential has not changed.
    """

    cause: Any = None
    generation: int | None = None
    force: bool = False


class RemoteSessionActor(Actor[SessionRebuildRequest]):
    """Owns the session of one deployment; `bootstrap` makes one that runs.

    Requests use `snapshot` and never wait for the mailbox. In an `ActorSystem` it takes `SessionRebuildRequest`s; it
    works without one just as well, through `rebuild` and `aclose`.

    Attributes:
        expires: whether the current generation's credential ends; if so, call `fresh` before `snapshot`.

    Invariants: at most one rebuild runs; a client is closed once nothing holds its generation, and not before.
    """

    def __init__(self, config: SessionConfig, first: SessionSnapshot) -> None:
        self._config = config
        self._snapshot = first
        self.expires = first.windows.early_at < math.inf
        self._refreshing = Refreshing(least_s=config.min_interval_s)
        self._refused = False
        self._read_at = -math.inf
        self._rebuild: asyncio.Task[InferenceError | None] | None = None
        self._forced = False
        self._retired: set[SessionSnapshot] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    async def bootstrap(cls, config: SessionConfig) -> Self:
        """Read the credential, build the client and return the session.

        Raises:
            ConfigError: the source yields no credential.
        """
        secrets = await _read(config)
        return cls(config, _build(config, secrets, 1))

    @property
    def snapshot(self) -> SessionSnapshot:
        """The current generation; `acquire` it in the same await-free block."""
        return self._snapshot

    @property
    def generation(self) -> int:
        """The number of the current generation."""
        return self._snapshot.generation

    @property
    def refused(self) -> bool:
        """Whether the provider refused the current credential and its source has had no other since."""
        return self._refused

    async def rebuild(
        self, cause: BaseException | None = None, seen_generation: int | None = None, *, force: bool = False
    ) -> SessionSnapshot:
        """Read the credential again, build a new client, and return the generation that is current then.

        All who call while one rebuild runs share it. A caller whose generation has been replaced already gets the
        current one at once. What is in flight keeps its own generation.

        Args:
            cause: why, becomes the `__cause__` of what is raised; its attribute `generation` stands in for the next.
            seen_generation: the generation whose credential was refused; None: the current one.
            force: an operator's wish: build anew even if the credential is the same, and now.

        Raises:
            Unauthorized: the source still yields the refused credential (`same_credential`), or none
                (`rebuild_failed`); the session stays as it is.

        Cancellation: the rebuild goes on for the others.
        """
        if self._closed:
            raise _ended()
        seen = getattr(cause, "generation", None) if seen_generation is None else seen_generation
        if not force and seen is not None and seen < self.generation and not self._refused:
            return self._snapshot
        while self._rebuild is not None and force and not self._forced:
            await self._join()
        if self._rebuild is None:
            now = asyncio.get_running_loop().time()
            if not force and now < self._read_at + self._config.min_interval_s:
                self._refused = True
                self._raise(None, cause)
            self._read_at = now
            self._forced = force
            self._start(self._renew(force=force))
        failure = await self._join()
        if failure is not None:
            self._raise(failure, cause)
        return self._snapshot

    async def fresh(self) -> SessionSnapshot:
        """Return a generation whose credential lasts a while, and have the next one fetched when that is due.

        Nobody waits until shortly before the credential ends; then all wait for the same new one.

        Raises:
            Unauthorized: there is no new credential, or none within `refresh_wait_s` (`rebuild_failed`).

        Cancellation: the fetching goes on for the others.
        """
        snapshot = self._snapshot
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < snapshot.windows.early_at:
            return snapshot
        if self._closed:
            raise _ended()
        late = now >= snapshot.windows.late_at
        if self._rebuild is None and self._refreshing.may_try(now, late=late):
            self._start(self._refresh())
        if not late:
            return snapshot
        if self._rebuild is None:
            raise self._unauthorized(f"{self._places()} yielded no new token a moment ago", "rebuild_failed")
        try:
            async with asyncio.timeout(self._config.refresh_wait_s):
                failure = await self._join()
        except TimeoutError:
            wait = f"{self._config.refresh_wait_s:g} s"
            raise self._unauthorized(f"{self._places()} yielded no new token within {wait}", "rebuild_failed") from None
        if failure is not None:
            raise self._unauthorized(failure.message, "rebuild_failed")
        return self._snapshot

    async def aclose(self) -> None:
        """Close all clients, the current one too; what is in flight breaks. May be called again."""
        self._closed = True
        rebuild = self._rebuild
        if rebuild is not None:
            rebuild.cancel()
            await asyncio.wait([rebuild])
        for snapshot in (self._snapshot, *self._retired):
            await _close(snapshot)
        self._retired.clear()
        if self._closing:
            await asyncio.wait(self._closing)

    async def receive(self, message: SessionRebuildRequest) -> SessionSnapshot:
        """Replace the session."""
        return await self.rebuild(message.cause, message.generation, force=message.force)

    async def on_stop(self) -> None:
        """Close all clients."""
        await self.aclose()

    async def _join(self) -> InferenceError | None:
        rebuild = self._rebuild
        if rebuild is None:
            return None
        try:
            return await asyncio.shield(rebuild)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if rebuild.cancelled() and (task is None or not task.cancelling()):
                raise _ended() from None
            raise

    def _start(self, work: Coroutine[Any, Any, InferenceError | None]) -> None:
        self._rebuild = asyncio.get_running_loop().create_task(work)
        self._rebuild.add_done_callback(self._renewed)

    async def _refresh(self) -> InferenceError | None:
        """Fetch the token that follows the present one; return why there is none."""
        self._forced = False
        old = self._snapshot
        try:
            secrets = await _read(self._config)
            if secrets != old.secrets:
                self._replace(_build(self._config, secrets, old.generation + 1))
                return None
            why = "the source still yields the token that is about to end"
        except Exception as exc:  # noqa: BLE001 - whatever a source or a client's making raises keeps the old session
            why = str(exc) if isinstance(exc, ConfigError) else type(exc).__name__
        if self._refreshing.failed(asyncio.get_running_loop().time()):
            _logger.warning("no new token for %s: %s", self._config.deployment or self._config.provider, why)
        return self._unauthorized(f"no new token: {why}", "rebuild_failed")

    async def _renew(self, *, force: bool) -> InferenceError | None:
        """Do one rebuild; return why it failed."""
        config, old = self._config, self._snapshot
        try:
            secrets = await _read(config)
            if secrets == old.secrets and not force:
                self._refused = True
                return self._same_credential()
            new = _build(config, secrets, old.generation + 1)
            await _verify(config, new)
        except Exception as exc:  # noqa: BLE001 - whatever a source or a client's making raises keeps the old session
            self._refused = self._refused or not force
            why = str(exc) if isinstance(exc, ConfigError) else type(exc).__name__
            return self._unauthorized(f"the session could not be rebuilt: {why}", "rebuild_failed")
        self._replace(new)
        return None

    def _replace(self, new: SessionSnapshot) -> None:
        config, old = self._config, self._snapshot
        self._snapshot = new
        self.expires = new.windows.early_at < math.inf
        self._refreshing.succeeded()
        self._refused = False
        self._retired.add(old)
        old.retire(self._let_go)
        _logger.info("session of %s rebuilt: generation %d", config.deployment or config.provider, new.generation)

    def _renewed(self, _task: asyncio.Task[InferenceError | None]) -> None:
        self._rebuild = None

    def _let_go(self, snapshot: SessionSnapshot) -> None:
        if snapshot not in self._retired:
            return
        self._retired.discard(snapshot)
        task = asyncio.get_running_loop().create_task(_close(snapshot))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _raise(self, failure: InferenceError | None, cause: BaseException | None) -> NoReturn:
        """Raise an error of the caller's own: one shared by a thousand tasks would collect all their tracebacks."""
        failure = failure or self._same_credential()
        raise self._unauthorized(failure.message, failure.reason) from cause

    def _same_credential(self) -> Unauthorized:
        return self._unauthorized(f"{self._places()} still yields the credential that was refused", "same_credential")

    def _places(self) -> str:
        return ", ".join(dict.fromkeys(_place(source) for source in self._config.sources))

    def _unauthorized(self, message: str, reason: str | None) -> Unauthorized:
        config = self._config
        return Unauthorized(message, provider=config.provider, deployment=config.deployment, reason=reason)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "rebuilding" if self._rebuild else "refused" if self._refused else "open"
        return f"<RemoteSessionActor {self._config.provider} {state} {self._snapshot!r} retired {len(self._retired)}>"


async def _read(config: SessionConfig) -> tuple[Secret, ...]:
    secrets = tuple([await source.token() for source in config.sources])
    if not secrets or not all(secrets):
        raise ConfigError(f"{', '.join(map(_place, config.sources)) or config.provider} yields no credential")
    return secrets


def _build(config: SessionConfig, secrets: tuple[Secret, ...], generation: int) -> SessionSnapshot:
    prepared = None if config.prepare is None else config.prepare(secrets[0])
    built_at = asyncio.get_running_loop().time()
    windows = windows_of(secrets, built_at, early_s=config.refresh_early_s, late_s=config.refresh_late_s)
    return SessionSnapshot(
        generation, config.build_client(), secrets, built_at=built_at, prepared=prepared, windows=windows
    )


async def _verify(config: SessionConfig, snapshot: SessionSnapshot) -> None:
    """Ask whether a new generation is of use; one that is not is closed."""
    if config.verify is None:
        return
    try:
        await config.verify(snapshot.client)
    except BaseException:
        await _close(snapshot)
        raise


async def _close(snapshot: SessionSnapshot) -> None:
    try:
        await snapshot.client.aclose()
    except Exception:
        _logger.exception("the client of session generation %d failed to close", snapshot.generation)


def _ended() -> NetworkError:
    return NetworkError("the session is closed", reason="local", counts_as_circuit_failure=False)


def _place(source: CredentialProvider) -> str:
    return str(getattr(source, "place", type(source).__name__))
