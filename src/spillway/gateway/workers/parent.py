"""The parent of the workers of one `serve`.

start   all workers begin at once, each a fresh interpreter; one that can't start ends them all, with its exit code
serve   SIGHUP goes to all; one that dies is followed by another, the sooner the longer it has lived
stop    SIGTERM or Ctrl-C goes to all, and so does a second one; the parent ends when the last has
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from spillway.core.clock import monotonic
from spillway.gateway.binding import Bind
from spillway.gateway.seeing.lines import lifecycle
from spillway.gateway.stopping import DRAIN_S, TELL_S
from spillway.gateway.workers.line import ENDED, UP, Errand, said_by

FIRST_AGAIN_S = 0.2
"""How long after the death of a worker another one begins; twice as long after each that did not live."""

LONGEST_AGAIN_S = 30.0

STEADY_S = 60.0
"""A worker that has lived so long begins anew at once when it dies."""

_LAST_S = DRAIN_S + TELL_S + 10.0
_SAME_S = 5.0
_GREETING = frozenset({"serving", "dashboard"})
_OWN_WORDS = frozenset({"stopping", "stopped"})

Say = Callable[[str, str], None]


class Parent:
    """Starts workers and keeps so many of them.

    Args:
        count: how many.
        command: what a worker is run with; its `Errand` follows as the last argument.
        config: the project file.
        bind: where they listen, the port included.
        say: prints a line of a kind; what several workers say alike is printed once.
    """

    def __init__(self, count: int, command: Sequence[str], *, config: str, bind: Bind, say: Say) -> None:
        self._count = count
        self._command = command
        self._config = config
        self._bind = bind
        self._say = say
        self._living: dict[int, asyncio.subprocess.Process] = {}
        self._up: set[int] = set()
        self._greeting: dict[str, str] = {}
        self._greeted = False
        self._said: dict[tuple[str, str], float] = {}
        self._ended = 0
        self._exit_code = 0
        self._over = asyncio.Event()

    async def run(self) -> int:
        """Keep the workers until a signal, and return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)
        keeping = [asyncio.ensure_future(self._keep(place)) for place in range(1, self._count + 1)]
        await self._over.wait()
        _, late = await asyncio.wait(keeping, timeout=_LAST_S)
        self._pass_on(signal.SIGKILL)
        if late:
            await asyncio.wait(late)
        for kept in keeping:
            kept.result()
        if self._greeted:
            lifecycle("stopped", ended=self._ended)
            self._say("stopped", f"{self._ended} had to be ended" if self._ended else "all have finished")
        return self._exit_code

    def _stop(self, number: signal.Signals) -> None:
        if not self._over.is_set():
            self._exit_code = 130 if number == signal.SIGINT else 0
            self._over.set()
            if self._greeted:
                self._say(
                    "stopping",
                    f"no new connections; {len(self._living)} workers finish what is under way, at most {DRAIN_S:g} s; "
                    "a second signal ends it at once",
                )
        self._pass_on(number)

    def _pass_on(self, number: signal.Signals) -> None:
        for process in self._living.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, place: int) -> None:
        short_lives = 0
        while not self._over.is_set():
            began = monotonic()
            code = await self._live(place)
            was_up = place in self._up
            self._up.discard(place)
            if self._over.is_set():
                return
            if not self._greeted:
                self._exit_code = code if code > 0 else 1
                if not was_up and code < 0:
                    self._say("error", f"a worker {_end_of(code)} before it served")
                self._over.set()
                self._pass_on(signal.SIGTERM)
                return
            short_lives = 0 if monotonic() - began >= STEADY_S else short_lives + 1
            wait_s = min(LONGEST_AGAIN_S, FIRST_AGAIN_S * 2 ** max(0, short_lives - 1))
            lifecycle("worker ended", worker=place, code=code)
            self._say("warning", f"worker {place} {_end_of(code)}; another one begins in {wait_s:g} s")
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._over.wait()

    async def _live(self, place: int) -> int:
        """Run one worker from its beginning to its end, and return its exit code."""
        mine, its = socket.socketpair()
        mine.setblocking(False)
        with mine:
            with its:
                errand = Errand(config=self._config, bind=self._bind, line=its.fileno())
                # In a group of its own: Ctrl-C is the parent's, which passes it on.
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    errand.as_argument(),
                    pass_fds=(its.fileno(),),
                    process_group=0,
                    stdin=asyncio.subprocess.DEVNULL,
                )
            self._living[place] = process
            reader, writer = await asyncio.open_connection(sock=mine)
            try:
                if self._over.is_set():
                    process.send_signal(signal.SIGTERM)
                while raw := await reader.readline():
                    for kind, message in said_by(raw):
                        self._hear(place, kind, message)
                return await process.wait()
            finally:
                writer.close()
                self._living.pop(place, None)

    def _hear(self, place: int, kind: str, message: str) -> None:
        if kind == UP:
            self._up.add(place)
            if self._greeted:
                lifecycle("worker serves", worker=place, pid=int(message))
                self._say("workers", f"worker {place} serves again, as process {message}")
            elif len(self._up) == self._count:
                self._greet()
        elif kind == ENDED:
            self._ended += int(message)
        elif kind in _GREETING:
            self._greeting[kind] = message
        elif kind not in _OWN_WORDS:
            now = monotonic()
            said_at = self._said.get((kind, message))
            if said_at is None or now - said_at > _SAME_S:
                self._said = {words: at for words, at in self._said.items() if now - at <= _SAME_S}
                self._said[kind, message] = now
                self._say(kind, message)

    def _greet(self) -> None:
        self._greeted = True
        for kind, message in self._greeting.items():
            self._say(kind, message)
        processes = ", ".join(str(process.pid) for _, process in sorted(self._living.items()))
        self._say("workers", f"{self._count} that answer as one: processes {processes}")


def _end_of(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
