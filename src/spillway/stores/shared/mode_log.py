"""Says in the log when limits are held in another way."""

from __future__ import annotations

import logging

from spillway.core.limit_store import WITHOUT_STORE, LimiterMode

_logger = logging.getLogger("spillway.rate_limit")


class ModeLog:
    """Writes one warning when the limits of a key are held worse than before, and one line when they are well again.

    Args:
        key: whose limits, with the number of the entry of a key pool.
    """

    __slots__ = ("_key", "_mode")

    def __init__(self, key: str) -> None:
        self._key = key.removesuffix("#1")
        self._mode: LimiterMode | None = None

    def note(self, mode: LimiterMode) -> None:
        """Take note of the mode now."""
        before, self._mode = self._mode, mode
        if mode == before:
            return
        if mode in WITHOUT_STORE:
            _logger.warning("limits of %s: %s: %s", self._key, mode, WITHOUT_STORE[mode])
        elif before in WITHOUT_STORE:
            _logger.info("limits of %s: %s again", self._key, mode)
