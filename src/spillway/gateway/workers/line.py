"""What a parent gives a worker on its way, and what the worker tells it: a socket between the two, a JSON line each.

That the other end is gone is told by the socket itself, however the process ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from spillway.gateway.binding import Bind

_LONGEST = 64 * 1024

UP, ENDED = "up", "ended"
"""Kinds of lines that are for the parent alone: that a worker serves, and how many requests it had to end."""


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is to serve.

    Attributes:
        config: the project file.
        bind: where, the port included.
        line: the descriptor of its end of the line.
    """

    config: str
    bind: Bind
    line: int

    def as_argument(self) -> str:
        """Return it as one argument of a command."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_argument(cls, argument: str) -> Errand:
        """Return what `as_argument` has written."""
        return msgspec.json.decode(argument, type=cls)


class Line:
    """A worker's end of the line.

    Args:
        descriptor: that the parent has left open for it.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        os.set_inheritable(descriptor, False)

    def say(self, kind: str, message: str) -> None:
        """Tell the parent something; one that is gone hears nothing."""
        with suppress(OSError):
            self._socket.sendall(msgspec.json.encode((kind, message[:_LONGEST])) + b"\n")

    def stop_without_parent(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have this process end as after a SIGTERM once its parent is gone."""

        def heard() -> None:
            loop.remove_reader(self._socket)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(self._socket, heard)

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def said_by(raw: bytes) -> Iterator[tuple[str, str]]:
    """Return what a line says, nothing where it is none."""
    with suppress(msgspec.MsgspecError):
        yield msgspec.json.decode(raw, type=tuple[str, str])
