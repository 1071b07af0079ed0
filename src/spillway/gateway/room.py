"""How many connections the process can hold: each costs a descriptor, and a request another one to its provider."""

from __future__ import annotations

_OWN = 128
"""Descriptors that are the process's own: files, event loop, listening sockets, idle connections to providers."""

_WANTED = 65_536
_LEAST = 64


def connections() -> int:
    """Return how many callers' connections are taken at once, and raise the limit of descriptors to its ceiling.

    What comes beyond them waits in the listening socket until one ends; connections that ask nothing end after the
    header timeout. So a flood of them holds others up, but takes no descriptor that a request under way needs.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ModuleNotFoundError:
        return 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < ceiling:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))
        soft = ceiling
    if soft == resource.RLIM_INFINITY:
        soft = _WANTED
    return max(_LEAST, (soft - _OWN) // 2)
