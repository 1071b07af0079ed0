"""A process that has one core: the server's threads and the event loop take turns on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def threads_wait_their_turn() -> Iterator[None]:
    """Have threads that are started inside not interrupt others when they wake, where the process has one core.

    The server moves bytes in a thread of its own. On a core of its own that is as it should be; on the loop's it takes
    the core from the loop several times a request, only to find that the loop holds the interpreter. As batch threads
    (Linux) they wait until the loop has nothing to do or its slice of some milliseconds is over.
    """
    if not hasattr(os, "sched_setscheduler") or len(os.sched_getaffinity(0)) != 1:
        yield
        return
    before = os.sched_getscheduler(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, before, os.sched_param(0))
