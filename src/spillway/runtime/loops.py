"""Event loops: the fastest one that is installed, and one in a thread of its own for callers without any."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from spillway.core.errors import Backpressure

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's when it is installed, else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class LoopThread:
    """A thread that runs an event loop, for scripts and notebooks; closed when the process ends, if not before.

    Args:
        farewell: awaited on the loop before it ends.

    Invariants: one loop for its whole life; `close` cancels what still runs and joins the thread.
    """

    def __init__(self, farewell: Callable[[], Coroutine[Any, Any, object]] | None = None) -> None:
        self._farewell = farewell
        self._loop = new_event_loop()
        self._thread = threading.Thread(target=self._run, name="spillway-loop", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def run(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `make()` on the thread's loop and return its result; an interrupt cancels it there.

        Raises:
            Backpressure: the loop has ended.
            RuntimeError: called from the loop's own thread, where it would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a synchronous call from the loop's own thread would wait for itself")
        if self._loop.is_closed():
            raise Backpressure("the Cluster is closed", reason="closed")
        future = asyncio.run_coroutine_threadsafe(make(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Say farewell, stop the loop and join the thread; may be called twice."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            if self._farewell is not None:
                self.run(self._farewell)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            if pending:
                self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()
