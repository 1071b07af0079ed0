"""Priority classes of requests; strict between classes."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """How urgent a request is; a higher class is always served first."""

    BACKGROUND = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3

    @classmethod
    def parse(cls, name: str) -> Priority:
        """Return the class called `name`, in any case.

        Raises:
            ValueError: there is none of that name.
        """
        try:
            return cls[name.strip().upper()]
        except KeyError:
            known = ", ".join(p.name.lower() for p in cls)
            raise ValueError(f"no priority {name!r}; one of: {known}") from None
