"""What stands between the runners of this process and the network while it is put there: a recorder, or a replay.

It is the process's and not a Cluster's, so that the code under test need not know of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from spillway.remote.http.port import HttpClient

KEY = "replayed"
"""The credential that is sent where nothing is sent."""


class ClientLayer(Protocol):
    """Makes the clients of new sessions."""

    @property
    def offline(self) -> bool:
        """Whether nothing goes out, so that no credential is needed."""
        ...

    def client(self, build: Callable[[], HttpClient]) -> HttpClient:
        """Return the client of a new session; `build` makes one that really sends."""
        ...


_lock = threading.Lock()
_layers: list[ClientLayer] = []


def put(new: ClientLayer) -> None:
    """Have clients made by `new` from now on.

    Raises:
        RuntimeError: another one is there already.
    """
    with _lock:
        if _layers:
            raise RuntimeError(f"there is one already: {_layers[0]!r}")
        _layers.append(new)


def take_away(old: ClientLayer) -> None:
    """Have clients made as usual again."""
    with _lock:
        _layers.remove(old)


def offline() -> bool:
    """Return whether nothing goes out."""
    return bool(_layers) and _layers[0].offline


def through(build: Callable[[], HttpClient]) -> HttpClient:
    """Return a client of the present layer, of `build` without one."""
    return _layers[0].client(build) if _layers else build()
